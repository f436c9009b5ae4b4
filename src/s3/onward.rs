//! Whether the pages of a listing lead on. A server that repeats itself would be asked for ever, and one
//! that does not say where the next page begins would make a listing shorter than it is.

use super::bounds::BARREN_PAGES;
use super::error::Operation;
use crate::error::{Code, Error, Result};

/// The way through the pages of one listing.
#[derive(Clone, Debug)]
pub struct Onward {
    operation: Operation,
    marker: Option<String>,
    barren: usize,
}

impl Onward {
    /// Before the first page of what `operation` lists.
    #[must_use]
    pub fn new(operation: Operation) -> Self {
        Self { operation, marker: None, barren: 0 }
    }

    /// Goes on behind a page that says that there is more, from `marker` on. `is_new` says whether the
    /// page held anything that no page before it held.
    ///
    /// # Errors
    /// `remote_error` for a page that leads nowhere.
    pub fn step(&mut self, marker: &str, is_new: bool) -> Result<()> {
        self.barren = if is_new { 0 } else { self.barren + 1 };
        if self.marker.as_deref() == Some(marker) || self.barren > BARREN_PAGES {
            return Err(self.nowhere("its pages repeat, and none is the last"));
        }
        self.marker = Some(marker.to_owned());
        Ok(())
    }

    /// For a page that says that there is more, but not where.
    #[must_use]
    pub fn no_marker(&self) -> Error {
        self.nowhere("IsTruncated is true, but nothing says where the next page begins")
    }

    fn nowhere(&self, why: &str) -> Error {
        let what = self.operation.name();
        Error::new(Code::RemoteError, format!("{what}: invalid response: {why}"))
            .detail("member", "IsTruncated")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeated_listing_pages_end_in_an_error() {
        let mut onward = Onward::new(Operation::ListObjectsV2);
        for page in 0..100 {
            onward.step(&page.to_string(), true).unwrap();
        }
        assert_eq!(onward.step("99", true).unwrap_err().code(), Code::RemoteError);
    }

    #[test]
    fn listing_pages_without_new_keys_end_in_an_error() {
        let mut onward = Onward::new(Operation::ListParts);
        let steps =
            (0..100).take_while(|page: &usize| onward.step(&page.to_string(), false).is_ok());
        assert_eq!(steps.count(), BARREN_PAGES);
        let mut onward = Onward::new(Operation::ListParts);
        let sparse = |page: usize| page.is_multiple_of(BARREN_PAGES);
        assert!((0..100).all(|page| onward.step(&page.to_string(), sparse(page)).is_ok()));
    }
}
