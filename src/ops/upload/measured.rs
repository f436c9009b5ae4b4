//! Length check of an upload source.

use bytes::Bytes;

use super::{Source, Upload};
use crate::error::{Code, Error, Result};

/// A source that counts its bytes and checks the announced length: the stored length may differ
/// from what the source delivered.
pub(super) struct Measured<S> {
    source: S,
    announced: Option<u64>,
    exact: bool,
    seen: u64,
}

impl<S: Source> Measured<S> {
    pub(super) fn new(source: S, request: &Upload) -> Self {
        Self { source, announced: request.size, exact: request.exact, seen: 0 }
    }
}

impl<S: Source> Source for Measured<S> {
    /// # Errors
    /// `length_mismatch` for more bytes than announced, if `exact`, and for fewer or none.
    async fn next(&mut self) -> Result<Option<Bytes>> {
        let Some(chunk) = self.source.next().await? else {
            check_not_shorter(self.announced, self.seen)?;
            return Ok(None);
        };
        self.seen += chunk.len() as u64;
        check_not_longer(self.announced.filter(|_| self.exact), self.seen)?;
        Ok(Some(chunk))
    }
}

fn check_not_longer(exactly: Option<u64>, seen: u64) -> Result<()> {
    match exactly {
        Some(announced) if seen > announced => Err(Error::new(
            Code::LengthMismatch,
            format!("the source has more than the announced {announced} bytes"),
        )
        .detail("expected", announced)
        .detail("actual", seen)),
        _ => Ok(()),
    }
}

fn check_not_shorter(size: Option<u64>, seen: u64) -> Result<()> {
    let announced = size.unwrap_or(1);
    if seen >= announced {
        return Ok(());
    }
    let message = match size {
        Some(_) => format!("the source has {seen} bytes, but at least {announced} were announced"),
        None => "the source has no bytes: an empty backup cannot be stored".to_owned(),
    };
    Err(Error::new(Code::LengthMismatch, message)
        .detail("expected", announced)
        .detail("actual", seen))
}
