//! `demo`: the flags of the show in [`crate::demo::run`].

use clap::Args;

use crate::demo::run::{self, Show};
use crate::error::Result;
use crate::ops::Cancel;

/// Shows the agent at work, with a storage of its own.
#[derive(Args, Clone, Debug)]
pub struct Demo {
    /// Send so many random bytes instead of a small backup; k, M and G stand for 1024, its square
    /// and its cube.
    #[arg(long, value_parser = size)]
    size: Option<u64>,

    /// Only start the storage, and keep it until Ctrl-C.
    #[arg(long, conflicts_with = "size")]
    serve: bool,
}

fn size(text: &str) -> Result<u64, String> {
    let text = text.trim().trim_end_matches(['B', 'b']).trim_end_matches('i');
    let (number, shift) = match text.char_indices().next_back() {
        Some((at, 'k' | 'K')) => (text.get(..at), 10),
        Some((at, 'm' | 'M')) => (text.get(..at), 20),
        Some((at, 'g' | 'G')) => (text.get(..at), 30),
        _ => (Some(text), 0),
    };
    let number: Option<u64> = number.and_then(|number| number.trim().parse().ok());
    match number.and_then(|number| number.checked_mul(1 << shift)) {
        None | Some(0) => Err("write a number such as 200M".to_owned()),
        Some(size) => Ok(size),
    }
}

/// Runs the show.
///
/// # Errors
/// What went wrong in it.
pub(super) async fn run(options: &Demo, cancel: &Cancel) -> Result<()> {
    let show = match (options.serve, options.size) {
        (true, _) => Show::Storage,
        (false, Some(size)) => Show::Random(size),
        (false, None) => Show::Backup,
    };
    run::run(show, cancel).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_suffixes() {
        for (text, expected) in
            [("7", 7), ("3k", 3 << 10), ("200M", 200 << 20), ("1 GiB", 1 << 30), ("5MB", 5 << 20)]
        {
            assert_eq!(size(text), Ok(expected));
        }
        for text in ["", "0", "M", "-1", "1.5G", "99999999999G", "x"] {
            assert!(size(text).is_err(), "{text}");
        }
    }
}
