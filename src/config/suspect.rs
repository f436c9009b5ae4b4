//! Detection of values that look like a secret, which messages never repeat.

use crate::error::shortened;

/// Longest value that a message repeats.
const LONGEST: usize = 80;

/// Shortest run of letters and digits that can be a secret key: Backblaze's have 31.
const SHORTEST: usize = 30;

/// Length of hexadecimal keys, as issued by Cloudflare, Garage and Hetzner.
const HEXADECIMAL: usize = 64;

/// Whether a part of the text is as random as a key.
#[must_use]
pub fn looks_secret(text: &str) -> bool {
    // Many secrets contain slashes and plus signs, so they do not end a run.
    let mut runs =
        text.split(|letter: char| !letter.is_ascii_alphanumeric() && !"/+=".contains(letter));
    // A folder may precede the secret.
    runs.any(|run| {
        is_key(run) || run.match_indices('/').any(|(at, _)| run.get(at..).is_some_and(is_key))
    })
}

fn is_key(run: &str) -> bool {
    let letters: Vec<char> = run.chars().filter(char::is_ascii_alphanumeric).collect();
    let kinds = [char::is_ascii_uppercase, char::is_ascii_lowercase, char::is_ascii_digit];
    let kind = |letter: &char| kinds.iter().position(|kind| kind(letter));
    let mixed = kinds.iter().all(|kind| letters.iter().any(kind));
    // Names in CamelCase change the kind of character less often.
    let changes = letters.windows(2).filter(|pair| pair.first().map(kind) != pair.last().map(kind));
    let random = letters.len() >= SHORTEST && mixed && changes.count() * 3 >= letters.len();
    let hexadecimal = letters.len() >= HEXADECIMAL && letters.iter().all(char::is_ascii_hexdigit);
    random || hexadecimal
}

/// A value for a message: quoted, and without secrets.
pub(super) fn shown(text: &str) -> String {
    match looks_secret(text) {
        true => "(not shown)".to_owned(),
        false => format!("\"{}\"", shortened(text, LONGEST)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looks_secret_recognizes_keys_of_providers() {
        for secret in [
            "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
            "K004abcDEFghiJKLmnoPQRstuVWXyz12",
            "bGoa+V7g/yqDXvKRqq+JTFn4uQZbPiQJo4pf9RzJ",
            "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
            "s3.example.org/wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
        ] {
            assert!(looks_secret(secret), "{secret}");
        }
        for plain in [
            "backups",
            "My_Bucket-2026",
            "home-assistant-backups-of-the-whole-family-2026",
            "0123456789abcdef0123456789abcdef.r2.cloudflarestorage.com",
            "tenant:Bucket",
            "storage/v1/s3",
            "Backups/HomeAssistant/Haus2026/Keller",
        ] {
            assert!(!looks_secret(plain), "{plain}");
        }
    }
}
