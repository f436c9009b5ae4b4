//! Paged listing of a folder. If the page borders of the last listing are known, several pages are
//! requested in parallel: each page costs a round trip, and only its end tells where the next one
//! begins.

use std::pin::Pin;

use futures_util::{Stream, StreamExt, stream};

use super::layout::{Layout, PairKey};
use crate::error::{Code, Error, Result};
use crate::s3::{Bucket, Next, Operation, Page, Pagination};

/// Keys of a page; a server may return fewer.
const PAGE: usize = 1000;

/// Pages requested at the same time.
const PARALLEL: usize = 4;

/// The end of one page and the start of the next one in the last listing.
struct Border {
    end: String,
    begin: String,
}

/// A page, and the border before it; None for the first page.
type Prefetched = (Option<Border>, Result<Page>);

/// State of the listing.
struct Pager<'a> {
    /// Pages requested by the borders of the last listing. None once a border did not match.
    prefetched: Option<Pin<Box<dyn Stream<Item = Prefetched> + Send + 'a>>>,
    /// The last key so far.
    last: Option<String>,
    /// Start of the next page, if there is one.
    next: Option<Next>,
    is_begun: bool,
    pagination: Pagination,
    /// Remaining bytes for the listing.
    remaining: usize,
}

/// Bytes of an object in memory, besides its key.
const OBJECT: usize = 128;

/// Bytes counted for any other object, which is not kept: a folder with only such objects must
/// reach the limit too.
const OTHER: usize = 128;

/// Bytes counted for each page.
const EACH_PAGE: usize = 4 << 10;

/// Bytes that a page counts for.
fn weight(layout: &Layout, page: &Page) -> usize {
    let objects = page.objects.iter().map(|object| &object.key);
    let keys = objects.chain(page.unreadable.iter().map(|unreadable| &unreadable.key));
    let each = keys.map(|key| {
        let is_kept = layout.pair_key(key).is_some() || layout.is_probe(key);
        if is_kept { key.len() + OBJECT } else { OTHER }
    });
    each.sum::<usize>() + page.folders * OTHER + EACH_PAGE
}

fn too_many(layout: &Layout) -> Error {
    let message = format!(
        "there are too many objects in the folder \"{}\" for the memory setting",
        layout.folder()
    );
    Error::new(Code::TooLarge, message)
        .hint("raise memory, or use a separate folder for backups")
        .field("memory")
}

/// All objects of the layout's folder, with one request for each page. `metadata_keys` are the keys of
/// the metadata objects at the last listing; the result is correct even if they are outdated. Fails
/// with `too_large` before the keys of backups take more than `most_bytes`.
pub(super) fn pages<'a>(
    bucket: &'a Bucket,
    layout: &'a Layout,
    metadata_keys: Vec<String>,
    most_bytes: usize,
) -> impl Stream<Item = Result<Page>> + Send + 'a {
    let folder = layout.folder();
    let known = borders(layout, metadata_keys).into_iter().map(Some);
    let starts = stream::iter(std::iter::once(None).chain(known));
    let prefetched = starts.map(move |border| async move {
        let page = match &border {
            None => bucket.list(folder, None).await,
            Some(border) => bucket.list_after(folder, &border.end).await,
        };
        (border, page)
    });
    let pager = Pager {
        prefetched: Some(prefetched.buffered(PARALLEL).boxed()),
        last: None,
        next: None,
        is_begun: false,
        pagination: Pagination::new(Operation::ListObjectsV2),
        remaining: most_bytes,
    };
    stream::try_unfold(pager, move |mut pager| async move {
        let page = pager.step(bucket, layout).await?;
        Ok(page.map(|page| (page, pager)))
    })
}

impl Pager<'_> {
    async fn step(&mut self, bucket: &Bucket, layout: &Layout) -> Result<Option<Page>> {
        let is_over = self.is_begun && self.next.is_none();
        if is_over {
            return Ok(None);
        }
        let prefetched = match &mut self.prefetched {
            Some(prefetched) => prefetched.next().await,
            None => None,
        };
        let mut page = match prefetched {
            Some((None, page)) => page?,
            Some((Some(border), Ok(mut page))) if self.follows(&border, &page) => {
                page.objects
                    .retain(|object| self.last.as_ref().is_none_or(|last| object.key > *last));
                page
            }
            _ => {
                self.prefetched = None;
                let Some(next) = self.next.take() else { return Ok(None) };
                bucket.list(layout.folder(), Some(next)).await?
            }
        };
        self.is_begun = true;
        // Some servers do not list in order.
        let furthest = page.last_name();
        let is_new = furthest.is_some_and(|key| self.last.as_deref().is_none_or(|last| key > last));
        if let Some(key) = furthest.filter(|_| is_new) {
            self.last = Some(key.to_owned());
        }
        self.remaining =
            self.remaining.checked_sub(weight(layout, &page)).ok_or_else(|| too_many(layout))?;
        if let Some(next) = &page.next {
            self.pagination.advance(next.marker(), is_new)?;
        }
        self.next = page.next.take();
        Ok(Some(page))
    }

    /// Whether a page continues without a gap after the last key. A server that does not support
    /// the border shows this by the first key of its response.
    fn follows(&self, border: &Border, page: &Page) -> bool {
        let misses_nothing = self.last.as_ref().is_some_and(|last| border.end <= *last);
        misses_nothing && page.objects.first().is_some_and(|object| object.key == border.begin)
    }
}

/// The page borders, assuming that the folder holds only these metadata objects and their archives.
fn borders(layout: &Layout, metadata_keys: Vec<String>) -> Vec<Border> {
    let mut keys: Vec<String> = metadata_keys
        .into_iter()
        .filter_map(|key| match layout.pair_key(&key)? {
            PairKey::Metadata(name) => Some([layout.archive_key(name), key]),
            PairKey::Archive(_) => None,
        })
        .flatten()
        .collect();
    keys.sort_unstable();
    let pairs = keys.windows(2).skip(PAGE - 1).step_by(PAGE);
    let border = |pair: &[String]| match pair {
        [end, begin] => Some(Border { end: end.clone(), begin: begin.clone() }),
        _ => None,
    };
    pairs.filter_map(border).collect()
}
