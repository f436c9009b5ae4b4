//! Translation of requests into operations, and of their results into responses.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use tokio::sync::watch;

use super::outbox::{Answer, Outbox, answer};
use super::stream::{Inbound, InboundSource, OutboundSink};
use crate::error::{Code, Error, Result};
use crate::ops::{self, Cancel, Entry, Listing, Target};
use crate::progress::Progress;
use crate::protocol::{
    BackupRequest, CleanupRequest, Common, DeleteResult, DownloadRequest, GetResult, ListRequest,
    ListResult, MAX_PAGE, OnTarget, PAGE_BYTES, RepairRequest, UploadRequest, ValidateRequest,
    VerifyRequest,
};

/// Parses parameters. Errors name the wrong member.
///
/// # Errors
/// `invalid_params`. The value is never repeated, because it may be a secret.
pub(super) fn read<P: DeserializeOwned>(params: Option<&RawValue>) -> Result<P> {
    let params = params.map_or("{}", RawValue::get);
    if !params.starts_with('{') {
        // Positional parameters of JSON-RPC, which this protocol does not support.
        return Err(Error::new(Code::InvalidParams, "the member \"params\" must be an object")
            .detail("member", "params"));
    }
    let mut json = serde_json::Deserializer::from_str(params);
    serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let path = error.path().to_string();
        let cause = error.inner().to_string();
        // "missing field `x`" names a member of the protocol; other texts may quote the value.
        let missing = cause
            .strip_prefix("missing field `")
            .and_then(|rest| rest.split_once('`'))
            .map(|(name, _)| name.to_owned());
        let (member, problem) = match missing {
            Some(name) if path == "." => (name, "is missing"),
            Some(name) => (format!("{path}.{name}"), "is missing"),
            None if path == "." => {
                ("params".to_owned(), "must be an object with the members of this method")
            }
            None => (path, "has a wrong type or value"),
        };
        Error::new(Code::InvalidParams, format!("the member \"{member}\" {problem}"))
            .detail("member", member)
    })
}

/// A request on a target, ready to run.
pub(super) struct Work {
    target: String,
    common: Common,
    /// Whether it transfers the bytes of a backup.
    pub(super) is_transfer: bool,
    run: Box<dyn FnOnce(Context) -> BoxFuture<'static, Answer> + Send>,
}

/// The requests of the protocol that need nothing but their parameters, and what runs them.
macro_rules! requests {
    ($( $method:literal => $run:ident, )+) => {
        impl Work {
            /// Reads the parameters of a request on a target. None for any other method.
            ///
            /// # Errors
            /// `invalid_params`.
            pub(super) fn read(method: &str, params: Option<&RawValue>) -> Result<Option<Self>> {
                Ok(Some(match method {
                    $( $method => Self::new(read(params)?, $run), )+
                    _ => return Ok(None),
                }))
            }
        }
    };
}

requests! {
    "target.validate" => validate,
    "target.cleanup" => cleanup,
    "target.repair" => repair,
    "backup.verify" => verify,
    "backup.list" => list,
    "backup.get" => get,
    "backup.delete" => delete,
}

impl Work {
    fn new<R, F>(request: R, run: impl FnOnce(R, Context) -> F + Send + 'static) -> Self
    where
        R: OnTarget + Send + 'static,
        F: Future<Output = Answer> + Send + 'static,
    {
        Self {
            target: request.target().to_owned(),
            common: request.common(),
            is_transfer: false,
            run: Box::new(move |context| Box::pin(run(request, context))),
        }
    }

    /// An upload whose bytes arrive at `inbound`.
    pub(super) fn upload(request: UploadRequest, inbound: Arc<Inbound>) -> Self {
        let work = Self::new(request, |request, context| upload(request, inbound, context));
        Self { is_transfer: true, ..work }
    }

    /// A download that sends as many bytes as `credit` allows.
    pub(super) fn download(request: DownloadRequest, credit: watch::Receiver<u64>) -> Self {
        let work = Self::new(request, |request, context| download(request, credit, context));
        Self { is_transfer: true, ..work }
    }

    pub(super) fn target(&self) -> &str {
        &self.target
    }

    pub(super) fn common(&self) -> Common {
        self.common
    }

    /// Runs the request to its end.
    pub(super) async fn run(self, context: Context) -> Answer {
        (self.run)(context).await
    }
}

async fn validate(request: ValidateRequest, context: Context) -> Answer {
    answer(&ops::validate(&context.target, request.level, &context.cancel).await?)
}

async fn cleanup(request: CleanupRequest, context: Context) -> Answer {
    let CleanupRequest { older_than_s, dry_run, objects, .. } = request;
    let older_than = Duration::from_secs(older_than_s);
    let cleanup = ops::Cleanup { older_than, dry_run, objects };
    let mut cleaned = ops::cleanup(&context.target, cleanup, &context.cancel).await?;
    cleaned.more = shorten(&mut cleaned.items);
    answer(&cleaned)
}

async fn repair(request: RepairRequest, context: Context) -> Answer {
    let mut repaired = ops::repair(&context.target, request.dry_run, &context.cancel).await?;
    repaired.more = shorten(&mut repaired.archives);
    answer(&repaired)
}

async fn upload(request: UploadRequest, inbound: Arc<Inbound>, context: Context) -> Answer {
    let Context { id, target, outbox, progress, cancel, .. } = context;
    let mut source = InboundSource { id, inbound, outbox };
    let upload = ops::Upload {
        backup: request.backup,
        size: request.size,
        exact: request.exact,
        if_exists: request.if_exists,
        retry_for: Duration::from_millis(request.retry_for_ms),
        resume: Duration::from_secs(request.resume_s),
        beside: Vec::new(),
    };
    answer(&ops::upload(&target, upload, &mut source, &progress, &cancel).await?)
}

async fn download(
    request: DownloadRequest,
    credit: watch::Receiver<u64>,
    context: Context,
) -> Answer {
    let Context { id, target, outbox, progress, cancel, max_payload } = context;
    let mut sink = OutboundSink { id, outbox, credit, max_payload, sent: 0 };
    let download = ops::Download {
        id: request.backup_id,
        offset: request.offset,
        retry_for: Duration::from_millis(request.retry_for_ms),
    };
    let done = ops::download(&target, download, &mut sink, &progress, &cancel).await?;
    sink.end().await;
    answer(&done)
}

async fn verify(request: VerifyRequest, context: Context) -> Answer {
    let Context { target, progress, cancel, .. } = context;
    let verify = ops::Verify { id: request.backup_id, level: request.level };
    answer(&ops::verify(&target, verify, &progress, &cancel).await?)
}

async fn list(request: ListRequest, context: Context) -> Answer {
    let cursor = request.cursor.as_deref();
    // A later page comes from the listing of the first page, while that is cached.
    let refresh = request.refresh && cursor.is_none();
    let stale = Duration::from_secs(request.stale_s);
    let listing = ops::list_soon(&context.target, refresh, stale, &context.cancel).await?;
    answer(&page(&listing, cursor, request.page_size)?)
}

async fn get(request: BackupRequest, context: Context) -> Answer {
    let backup = ops::get(&context.target, &request.backup_id, &context.cancel).await?;
    answer(&GetResult { backup: backup.as_ref().clone() })
}

async fn delete(request: BackupRequest, context: Context) -> Answer {
    ops::delete(&context.target, &request.backup_id, &context.cancel).await?;
    answer(&DeleteResult { deleted: true })
}

/// Context of a running request.
pub(super) struct Context {
    pub(super) id: u64,
    pub(super) target: Arc<Target>,
    pub(super) outbox: Outbox,
    pub(super) progress: Progress,
    pub(super) cancel: Cancel,
    /// Largest payload that the host accepts, in bytes.
    pub(super) max_payload: usize,
}

/// The entries after `cursor`, as many as fit.
fn page(listing: &Listing, cursor: Option<&str>, size: Option<usize>) -> Result<ListResult> {
    use std::ops::Bound;
    let size = size.unwrap_or(MAX_PAGE);
    if !(1..=MAX_PAGE).contains(&size) {
        return Err(Error::new(
            Code::InvalidParams,
            format!("the member \"page_size\" must be 1 to {MAX_PAGE}"),
        )
        .detail("member", "page_size"));
    }
    let mut listed = ListResult { backups: Vec::new(), next: None, skipped: Vec::new() };
    let mut bytes = 0;
    let mut last: Option<&String> = None;
    let start = cursor.map_or(Bound::Unbounded, Bound::Excluded);
    for (name, entry) in listing.entries.range::<str, _>((start, Bound::Unbounded)) {
        let length = match entry {
            Entry::Backup(backup) => json_length(backup.as_ref()),
            Entry::Skipped { skipped, .. } => json_length(skipped),
            Entry::Archive => continue,
        };
        let count = listed.backups.len() + listed.skipped.len();
        if count == size || (count > 0 && bytes + length > PAGE_BYTES) {
            listed.next = last.cloned();
            break;
        }
        bytes += length + 1;
        last = Some(name);
        match entry {
            Entry::Backup(backup) => listed.backups.push(backup.as_ref().clone()),
            Entry::Skipped { skipped, .. } => listed.skipped.push(skipped.clone()),
            Entry::Archive => {}
        }
    }
    Ok(listed)
}

/// Truncates the entries to what fits into a line. Returns whether there were more.
fn shorten(entries: &mut Vec<impl serde::Serialize>) -> bool {
    let mut remaining = PAGE_BYTES;
    let fitting = entries.iter().take_while(|entry| {
        let length = json_length(entry) + 1;
        let fits = length <= remaining;
        remaining = remaining.saturating_sub(length);
        fits
    });
    let count = fitting.count();
    let more = count < entries.len();
    entries.truncate(count);
    more
}

fn json_length(value: &impl serde::Serialize) -> usize {
    serde_json::to_vec(value).map_or(0, |json| json.len())
}
