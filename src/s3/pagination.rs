//! Guards against listings that never end or that end too early: a server may repeat pages, or announce a
//! next page without its marker.

use super::bounds::MAX_EMPTY_PAGES;
use super::error::Operation;
use crate::error::{Code, Error, Result};

/// The progress through the pages of one listing.
#[derive(Clone, Debug)]
pub struct Pagination {
    operation: Operation,
    marker: Option<String>,
    empty_pages: usize,
}

impl Pagination {
    /// Before the first page of a listing with `operation`.
    #[must_use]
    pub fn new(operation: Operation) -> Self {
        Self { operation, marker: None, empty_pages: 0 }
    }

    /// Advances to the page at `marker`. `is_new` tells whether the current page had entries that
    /// no page before it had.
    ///
    /// # Errors
    /// `remote_error` when pages repeat.
    pub fn advance(&mut self, marker: &str, is_new: bool) -> Result<()> {
        self.empty_pages = if is_new { 0 } else { self.empty_pages + 1 };
        if self.marker.as_deref() == Some(marker) || self.empty_pages > MAX_EMPTY_PAGES {
            return Err(self.invalid("the pages repeat and do not end"));
        }
        self.marker = Some(marker.to_owned());
        Ok(())
    }

    /// The error for a page that announces a next page without its marker.
    #[must_use]
    pub fn no_marker(&self) -> Error {
        self.invalid("IsTruncated is true, but the marker of the next page is missing")
    }

    fn invalid(&self, why: &str) -> Error {
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
        let mut pagination = Pagination::new(Operation::ListObjectsV2);
        for page in 0..100 {
            pagination.advance(&page.to_string(), true).unwrap();
        }
        assert_eq!(pagination.advance("99", true).unwrap_err().code(), Code::RemoteError);
    }

    #[test]
    fn listing_pages_without_new_keys_end_in_an_error() {
        let mut pagination = Pagination::new(Operation::ListParts);
        let pages = (0..100)
            .take_while(|page: &usize| pagination.advance(&page.to_string(), false).is_ok());
        assert_eq!(pages.count(), MAX_EMPTY_PAGES);
        let mut pagination = Pagination::new(Operation::ListParts);
        let sparse = |page: usize| page.is_multiple_of(MAX_EMPTY_PAGES);
        assert!((0..100).all(|page| pagination.advance(&page.to_string(), sparse(page)).is_ok()));
    }
}
