//! Dispatch of messages: those with a fixed order are handled at once, the others as tasks.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::FutureExt as _;
use serde_json::value::RawValue;
use tokio::sync::{Semaphore, mpsc, watch};

use super::frame::{Frame, Input, Message};
use super::handle::{Work, read};
use super::outbox::{Outbox, answer};
use super::running::{Kind, Running, Table};
use super::stream::Inbound;
use super::targets::{self, Targets};
use super::{CLEANUP, End, task};
use crate::error::{Code, Error, Result, shortened};
use crate::journal::Journal;
use crate::logging;
use crate::ops::{self, Cancel, Cause};
use crate::protocol::{
    self, AgentLimits, Hello, InitializeRequest, InitializeResult, MAX_ID, MAX_LINE, MAX_PAYLOAD,
    MAX_REQUESTS, MAX_TARGET, MAX_TRANSFERS, Program, SAFE_PAYLOAD, ShutdownMode, ShutdownRequest,
    ShutdownResult, StreamCredit, StreamData, StreamEnd, TargetOpenRequest, TargetRequest,
    TargetUpdateRequest,
};

/// State of one session.
pub(super) struct Session {
    outbox: Outbox,
    pub(super) table: Table,
    targets: Targets,
    journal: Option<Journal>,
    transfers: Arc<Semaphore>,
    initialized: bool,
    ending: Arc<AtomicBool>,
    /// Largest payload that the host accepts, in bytes.
    max_payload: usize,
}

impl Session {
    pub(super) fn new(outbox: Outbox, journal: Option<Journal>) -> Self {
        Self {
            outbox,
            table: Table::new(),
            targets: Targets::default(),
            journal,
            transfers: Arc::new(Semaphore::new(MAX_TRANSFERS)),
            initialized: false,
            ending: Arc::default(),
            max_payload: MAX_PAYLOAD,
        }
    }

    /// Handles messages until the input ends.
    pub(super) async fn run(&mut self, input: &mut mpsc::Receiver<Input>) -> End {
        self.send_hello().await;
        loop {
            let ended = match input.recv().await {
                Some(Input::Frame(frame)) => self.frame(frame).await,
                Some(Input::Batch) => self.batch().await,
                Some(Input::Broken(error)) => self.broken(error).await,
                Some(Input::End) | None => Some(End::Orderly),
            };
            if let Some(end) = ended {
                return end;
            }
        }
    }

    async fn send_hello(&self) {
        let empty = || serde_json::Value::Object(serde_json::Map::new());
        let hello = Hello {
            protocol: protocol::NAME.to_owned(),
            versions: vec![protocol::VERSION],
            agent: Program {
                name: env!("CARGO_PKG_NAME").to_owned(),
                version: env!("CARGO_PKG_VERSION").to_owned(),
            },
            capabilities: ["target.s3", "target.update", "download.range", "verify", "repair"]
                .into_iter()
                .chain(self.journal.is_some().then_some("upload.resume"))
                .map(|name| (name.to_owned(), empty()))
                .collect(),
            limits: AgentLimits {
                max_line: MAX_LINE,
                max_payload: MAX_PAYLOAD,
                max_requests: MAX_REQUESTS,
                max_transfers: MAX_TRANSFERS,
            },
        };
        self.outbox.notify("hello", &hello).await;
    }

    async fn batch(&self) -> Option<End> {
        let error = Error::new(Code::InvalidRequest, "batches are not part of this protocol");
        self.outbox.respond(None, Err(error)).await;
        None
    }

    async fn broken(&self, error: Error) -> Option<End> {
        tracing::error!(%error, "the input is not a frame");
        self.outbox.respond(None, Err(error)).await;
        Some(End::Protocol)
    }

    async fn frame(&mut self, frame: Frame) -> Option<End> {
        let Frame { message: Message { id, method, params, .. }, payload } = frame;
        let method = method.and_then(|method| serde_json::from_str::<String>(method.get()).ok());
        let params = params.as_deref();
        match (id, method) {
            (None, Some(method)) => {
                if self.initialized {
                    self.notification(&method, params, payload);
                }
                None
            }
            (Some(id), Some(method)) => {
                let id = id.get().parse::<u64>().ok().filter(|id| (1..=MAX_ID).contains(id));
                let Some(id) = id else {
                    let error = Error::new(
                        Code::InvalidRequest,
                        format!("the ID of a request must be an integer from 1 to {MAX_ID}"),
                    )
                    .detail("member", "id");
                    self.outbox.respond(None, Err(error)).await;
                    return None;
                };
                self.request(id, &method, params).await
            }
            (id, None) => {
                // The agent sends no requests, so a response cannot be meant for it either.
                tracing::warn!(has_id = id.is_some(), "a message without a method");
                let error = Error::new(Code::InvalidRequest, "the message has no method")
                    .detail("member", "method");
                self.outbox.respond(None, Err(error)).await;
                None
            }
        }
    }

    fn notification(
        &self,
        method: &str,
        params: Option<&RawValue>,
        payload: Option<Result<Vec<bytes::Bytes>>>,
    ) {
        let handled = match method {
            "cancel" => read::<protocol::Cancel>(params).map(|cancel| {
                self.table.with(cancel.id, |running| {
                    running.stop(Cause::Requested(cancel.reason));
                });
            }),
            "stream.data" => read::<StreamData>(params).map(|StreamData { id, offset }| {
                self.inbound(id, |inbound| inbound.data(offset, payload));
            }),
            "stream.end" => read::<StreamEnd>(params).map(|StreamEnd { id, length }| {
                self.inbound(id, |inbound| inbound.end(length));
            }),
            "stream.credit" => read::<StreamCredit>(params).map(|StreamCredit { id, up_to }| {
                self.table.with(id, |running| {
                    if let Some(credit) = &running.credit {
                        credit.send_if_modified(|now| {
                            let more = up_to > *now;
                            *now = up_to.max(*now);
                            more
                        });
                    }
                });
            }),
            _ => Ok(()),
        };
        if let Err(error) = handled {
            tracing::warn!(method, %error, "a notification cannot be read");
        }
    }

    /// Passes a stream message to an upload. A message for a request that has ended is dropped: it
    /// was in flight already.
    fn inbound(&self, id: u64, handle: impl FnOnce(&Inbound)) {
        self.table.with(id, |running| match &running.inbound {
            Some(inbound) => handle(inbound),
            None => running.stop(Cause::Stream(
                Code::StreamViolation,
                "stream data was sent to a request that accepts none".to_owned(),
            )),
        });
    }

    async fn request(&mut self, id: u64, method: &str, params: Option<&RawValue>) -> Option<End> {
        if self.table.contains(id) {
            // The responses could not be told apart.
            let error = Error::new(
                Code::DuplicateId,
                format!("the ID {id} belongs to a request that is still running"),
            )
            .detail("member", "id");
            return self.broken(error).await;
        }
        let dispatching = AssertUnwindSafe(self.dispatch(id, method, params)).catch_unwind();
        if let Err(error) = dispatching.await.unwrap_or_else(|_| Err(task::panicked())) {
            self.outbox.respond(Some(id), Err(error)).await;
        }
        None
    }

    async fn dispatch(&mut self, id: u64, method: &str, params: Option<&RawValue>) -> Result<()> {
        #[cfg(feature = "demo")]
        crate::fault_injection::trip(method);
        if method == "initialize" {
            let initialized = self.initialize(&read(params)?)?;
            self.outbox.respond(Some(id), answer(&initialized)).await;
            return Ok(());
        }
        if !self.initialized {
            return Err(Error::new(Code::NotInitialized, "initialize must come first"));
        }
        if self.ending.load(Ordering::Relaxed) {
            return Err(Error::new(Code::ShuttingDown, "the agent is shutting down"));
        }
        let work = match method {
            "ping" => {
                self.outbox.respond(Some(id), answer(&serde_json::Map::new())).await;
                return Ok(());
            }
            "shutdown" => {
                self.shut_down(id, read(params)?);
                return Ok(());
            }
            "target.open" => return self.open(id, read(params)?),
            "target.update" => return self.update(id, read(params)?).await,
            "target.close" => return self.close(id, read(params)?).await,
            "backup.upload" | "backup.download" => return self.start_transfer(id, method, params),
            _ => Work::read(method, params)?.ok_or_else(|| {
                let method = shortened(method, 200);
                Error::new(Code::MethodNotFound, format!("unknown method \"{method}\""))
                    .detail("method", method)
            })?,
        };
        self.start(id, work, Running::new(Kind::Work, Cancel::default()))
    }

    fn start_transfer(&self, id: u64, method: &str, params: Option<&RawValue>) -> Result<()> {
        let cancel = Cancel::default();
        if method == "backup.upload" {
            let inbound = Inbound::new(cancel.clone());
            let work = Work::upload(read(params)?, Arc::clone(&inbound));
            let running = Running::new(Kind::Work, cancel);
            self.start(id, work, Running { inbound: Some(inbound), ..running })
        } else {
            let request: protocol::DownloadRequest = read(params)?;
            let (sender, receiver) = watch::channel(request.up_to);
            let work = Work::download(request, receiver);
            let running = Running::new(Kind::Work, cancel);
            self.start(id, work, Running { credit: Some(sender), ..running })
        }
    }

    fn initialize(&mut self, request: &InitializeRequest) -> Result<InitializeResult> {
        if self.initialized {
            return Err(Error::new(Code::InvalidRequest, "initialize was sent twice"));
        }
        if request.protocol != protocol::VERSION {
            let supported = vec![i64::from(protocol::VERSION)];
            return Err(Error::new(
                Code::UnsupportedProtocol,
                format!("protocol {} is not supported", request.protocol),
            )
            .detail("supported", crate::error::Detail::Numbers(supported)));
        }
        let wrong = |member: &'static str| {
            Error::new(
                Code::InvalidParams,
                format!("the member \"{member}\" must be at least 65536"),
            )
            .detail("member", member)
        };
        if request.limits.max_line.is_some_and(|limit| limit < MAX_LINE) {
            return Err(wrong("limits.max_line"));
        }
        if let Some(limit) = request.limits.max_payload {
            if limit < SAFE_PAYLOAD {
                return Err(wrong("limits.max_payload"));
            }
            self.max_payload = limit.min(MAX_PAYLOAD);
        }
        if let Some(level) = request.log_level {
            logging::set_level(level);
        }
        self.initialized = true;
        if let Some(client) = &request.client {
            tracing::info!(host = client.name, version = client.version, "a host is connected");
        }
        Ok(InitializeResult { protocol: protocol::VERSION })
    }

    /// The name means the new target at once; its outcome is known when it is open.
    fn open(&mut self, id: u64, request: TargetOpenRequest) -> Result<()> {
        let TargetOpenRequest { target, config } = request;
        if target.is_empty() || target.len() > MAX_TARGET {
            return Err(Error::new(
                Code::InvalidParams,
                format!("the member \"target\" must have 1 to {MAX_TARGET} bytes"),
            )
            .detail("member", "target"));
        }
        let cancel = self.begin(id, Kind::Target)?;
        let (journal, outbox, table) =
            (self.journal.clone(), self.outbox.clone(), self.table.clone());
        let name = target.clone();
        let opening = async move {
            let opened = cancel.cancellable(targets::open(config, journal)).await;
            if let Ok(target) = &opened {
                ops::start_cleanup(target);
            }
            table.remove(id);
            let response = opened.as_ref().map_err(Clone::clone);
            let response = response.and_then(|_| answer(&TargetRequest { target: name }));
            // Before requests on the target continue, so that this response precedes theirs.
            outbox.respond(Some(id), response).await;
            table.answered();
            opened.ok()
        };
        tokio::spawn(self.targets.open(&target, opening));
        Ok(())
    }

    /// Later messages find the target changed, even if it is still opening.
    async fn update(&mut self, id: u64, request: TargetUpdateRequest) -> Result<()> {
        let TargetUpdateRequest { target: name, limits } = request;
        let slot = self.targets.get(&name)?;
        if let Some(Some(target)) = slot.peek() {
            let updated = targets::update(&name, target, limits)?;
            self.outbox.respond(Some(id), answer(&updated)).await;
            return Ok(());
        }
        let cancel = self.begin(id, Kind::Target)?;
        let (outbox, table, target) = (self.outbox.clone(), self.table.clone(), name.clone());
        let updating = async move {
            let open = cancel.cancellable(async { Ok(slot.await) }).await;
            let response = match &open {
                Ok(Some(open)) => targets::update(&target, open, limits).and_then(|it| answer(&it)),
                Ok(None) => Err(targets::unknown(&target)),
                Err(error) => Err(error.clone()),
            };
            table.remove(id);
            outbox.respond(Some(id), response).await;
            table.answered();
            open.ok().flatten()
        };
        tokio::spawn(self.targets.open(&name, updating));
        Ok(())
    }

    async fn close(&mut self, id: u64, request: TargetRequest) -> Result<()> {
        let slot = self.targets.close(&request.target)?;
        if slot.peek().is_some() {
            self.outbox.respond(Some(id), answer(&request)).await;
            return Ok(());
        }
        // Whether a target was open is known only when opening has finished.
        let cancel = self.begin(id, Kind::Target)?;
        let (outbox, table) = (self.outbox.clone(), self.table.clone());
        tokio::spawn(async move {
            let open = cancel.cancellable(async { Ok(slot.await) }).await;
            let response = match open {
                Ok(Some(_)) => answer(&request),
                Ok(None) => Err(targets::unknown(&request.target)),
                Err(error) => Err(error),
            };
            table.remove(id);
            outbox.respond(Some(id), response).await;
            table.answered();
        });
        Ok(())
    }

    /// Adds a request without a stream to the running ones.
    fn begin(&self, id: u64, kind: Kind) -> Result<Cancel> {
        self.check_limit(kind)?;
        let cancel = Cancel::default();
        self.table.insert(id, Running::new(kind, cancel.clone()));
        Ok(cancel)
    }

    fn check_limit(&self, kind: Kind) -> Result<()> {
        if self.table.count(kind) < MAX_REQUESTS {
            return Ok(());
        }
        let message = format!("{MAX_REQUESTS} requests are running");
        Err(Error::new(Code::Busy, message)
            .hint("wait for one to end")
            .detail("max_requests", MAX_REQUESTS as u64))
    }

    fn start(&self, id: u64, work: Work, running: Running) -> Result<()> {
        let target = self.targets.get(work.target())?;
        self.check_limit(Kind::Work)?;
        let task = task::Task {
            id,
            target,
            outbox: self.outbox.clone(),
            cancel: running.cancel.clone(),
            max_payload: self.max_payload,
            permit: work.is_transfer.then(|| task::TransferPermit::enqueue(&self.transfers)),
            table: self.table.clone(),
        };
        let timing = task::Timing::new(work.common())?;
        self.table.insert(id, running);
        tokio::spawn(task.run(work, timing));
        Ok(())
    }

    fn shut_down(&self, id: u64, request: ShutdownRequest) {
        self.ending.store(true, Ordering::Relaxed);
        let (outbox, table) = (self.outbox.clone(), self.table.clone());
        let end = |table: &Table| table.cancel_all(&Cause::ShutdownRequested);
        // At once: the input may end next, and the first cause counts.
        let aborted = (request.mode == ShutdownMode::Abort).then(|| end(&table));
        tokio::spawn(async move {
            let limit = Duration::from_millis(request.timeout_ms.unwrap_or(60_000));
            let aborted = match aborted {
                Some(aborted) => aborted,
                None if table.idle(limit).await => Vec::new(),
                None => end(&table),
            };
            table.idle(CLEANUP).await;
            table.all_answered(CLEANUP).await;
            // Responses of transfers are sent after their data, and this one is sent after them.
            outbox.respond_after_data(id, answer(&ShutdownResult { aborted })).await;
        });
    }
}
