//! Log lines on stderr: JSON for a host that collects them, short text for users.
//!
//! The level applies to this crate. Of other crates only the message of a warning or an error is
//! logged, because their fields may contain requests with signatures. JSON lines go through a
//! bounded queue, so that a slow reader of stderr never blocks the agent; lines that do not fit are
//! dropped and counted. A panic is logged as one line.

mod queue;

use std::fmt::{self, Write as _};
use std::io::{self, IsTerminal, Write as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use console::style;
use serde_json::{Map, Value, json};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::Interest;
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::{Context, SubscriberExt as _};
use tracing_subscriber::registry::{LookupSpan, Scope};

use self::queue::Queue;
use crate::error::clean;
use crate::error::text::quoted;
use crate::platform::now;
use crate::protocol::LogLevel;

/// Longest JSON line in bytes, including its line feed.
pub const MAX_LINE: usize = 8 << 10;

/// Least important level that is logged, as a number from [`rank`].
static LEVEL: AtomicU8 = AtomicU8::new(2);

/// Format of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// One JSON object per line.
    Json,
    /// `warning: message (name: value)`.
    Human,
}

/// The running log. Dropping it writes the queued lines, if stderr is being read.
#[derive(Debug)]
#[must_use]
pub struct Log(Option<Arc<Queue>>);

/// Starts logging. Only the first call has an effect.
pub fn start(format: Format, level: LogLevel) -> Log {
    set_level(level);
    let (out, log) = match format {
        Format::Human => (Out::Direct { terminal: io::stderr().is_terminal() }, Log(None)),
        Format::Json => {
            let queue = Arc::new(Queue::start());
            (Out::Queued(Arc::clone(&queue)), Log(Some(queue)))
        }
    };
    let subscriber = tracing_subscriber::registry().with(Lines(out));
    // Fails if logging was started already.
    let _ = tracing::subscriber::set_global_default(subscriber);
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        let reason = panic.payload_as_str().unwrap_or("no reason given");
        tracing::error!(place, "a fault inside the agent: {reason}");
    }));
    log
}

/// Changes the level from now on.
pub fn set_level(level: LogLevel) {
    let level = match level {
        LogLevel::Error => Level::ERROR,
        LogLevel::Warning => Level::WARN,
        LogLevel::Info => Level::INFO,
        LogLevel::Debug => Level::DEBUG,
    };
    LEVEL.store(rank(level), Ordering::Relaxed);
}

impl Drop for Log {
    fn drop(&mut self) {
        if let Some(queue) = &self.0 {
            queue.flush();
        }
    }
}

/// A number for each level; the most important has the smallest.
fn rank(level: Level) -> u8 {
    match level {
        Level::ERROR => 1,
        Level::WARN => 2,
        Level::INFO => 3,
        Level::DEBUG => 4,
        Level::TRACE => 5,
    }
}

fn name(level: Level) -> &'static str {
    match level {
        Level::ERROR => "error",
        Level::WARN => "warning",
        Level::INFO => "info",
        Level::DEBUG | Level::TRACE => "debug",
    }
}

fn is_ours(metadata: &Metadata<'_>) -> bool {
    let target = metadata.target();
    target.split("::").next() == Some(env!("CARGO_CRATE_NAME"))
}

struct Lines(Out);

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Lines {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        // The demo's server logs refusals, which its client reports as well.
        let storage = metadata.target().starts_with("s3s");
        if is_ours(metadata) || *metadata.level() <= Level::WARN && !storage {
            Interest::sometimes()
        } else {
            Interest::never()
        }
    }

    fn enabled(&self, metadata: &Metadata<'_>, _: Context<'_, S>) -> bool {
        // A span has only fields, which are added to warnings inside it.
        is_ours(metadata) && metadata.is_span()
            || rank(*metadata.level()) <= LEVEL.load(Ordering::Relaxed)
    }

    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        if let Some(span) = context.span(id) {
            span.extensions_mut().insert(fields);
        }
    }

    fn on_record(&self, id: &Id, record: &Record<'_>, context: Context<'_, S>) {
        if let Some(span) = context.span(id)
            && let Some(fields) = span.extensions_mut().get_mut::<Fields>()
        {
            record.record(fields);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut own = Fields::default();
        event.record(&mut own);
        let mut fields = Map::new();
        let mut sentence = own.sentence;
        if is_ours(event.metadata()) {
            for span in context.event_scope(event).into_iter().flat_map(Scope::from_root) {
                if let Some(outer) = span.extensions().get::<Fields>() {
                    fields.extend(outer.named.clone());
                }
            }
            fields.extend(own.named);
        } else {
            fields.insert("from".to_owned(), json!(event.metadata().target()));
            sentence = quoted(&sentence);
        }
        self.0.write(*event.metadata().level(), &sentence, fields);
    }
}

/// Message and fields of an event or a span.
#[derive(Default)]
struct Fields {
    sentence: String,
    named: Map<String, Value>,
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.record_str(field, &format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "message" {
            self.sentence = clean(value);
        } else {
            self.named.insert(field.name().to_owned(), json!(clean(value)));
        }
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.named.insert(field.name().to_owned(), json!(value));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.named.insert(field.name().to_owned(), json!(value));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.named.insert(field.name().to_owned(), json!(value));
    }
}

enum Out {
    Queued(Arc<Queue>),
    Direct { terminal: bool },
}

impl Out {
    fn write(&self, level: Level, sentence: &str, fields: Map<String, Value>) {
        match self {
            Self::Queued(queue) => {
                if let Some(dropped) = queue.take_dropped() {
                    let report =
                        format!("{dropped} log lines were dropped: stderr was not read in time");
                    let report = json_line(Level::WARN, &report, Map::new());
                    queue.push(report, dropped);
                }
                queue.push(json_line(level, sentence, fields), 1);
            }
            Self::Direct { terminal } => {
                // Erases a progress bar, which is redrawn below.
                let wipe = if *terminal { "\r\x1b[2K" } else { "" };
                let line = human_line(level, sentence, &fields);
                let _ = writeln!(io::stderr().lock(), "{wipe}{line}");
            }
        }
    }
}

/// Omits the last fields of a line that would be too long.
fn json_line(level: Level, sentence: &str, mut fields: Map<String, Value>) -> Vec<u8> {
    let ts = now().to_rfc3339_opts(chrono::SecondsFormat::Millis, true);
    loop {
        let mut line = Map::new();
        line.insert("ts".to_owned(), json!(ts));
        line.insert("level".to_owned(), json!(name(level)));
        line.insert("msg".to_owned(), json!(sentence));
        for (name, value) in &fields {
            line.entry(name).or_insert_with(|| value.clone());
        }
        let mut line = Value::Object(line).to_string().into_bytes();
        line.push(b'\n');
        if line.len() <= MAX_LINE {
            return line;
        }
        let last = fields.keys().next_back().cloned();
        fields.shift_remove(&last.unwrap_or_default());
    }
}

fn human_line(level: Level, sentence: &str, fields: &Map<String, Value>) -> String {
    let name = match level {
        Level::ERROR => style(name(level)).red().bold(),
        Level::WARN => style(name(level)).yellow().bold(),
        Level::INFO => style(name(level)).cyan(),
        Level::DEBUG | Level::TRACE => style(name(level)).dim(),
    };
    let mut line = format!("{}: {sentence}", name.for_stderr());
    for (index, (name, value)) in fields.iter().enumerate() {
        let before = if index == 0 { " (" } else { ", " };
        let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let _ = write!(line, "{before}{name}: {value}");
    }
    if !fields.is_empty() {
        line.push(')');
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn log_line_is_json_of_limited_length() {
        let mut fields = Map::new();
        for number in 0..8 {
            fields.insert(format!("field{number}"), json!("\"".repeat(2048)));
        }
        let line = json_line(Level::WARN, &"\\".repeat(2048), fields);
        assert!(line.len() <= MAX_LINE && line.ends_with(b"\n"));
        let line: Value = serde_json::from_slice(&line).unwrap();
        assert_eq!(line.get("level"), Some(&json!("warning")));
        assert_eq!(line.get("msg").and_then(Value::as_str).map(str::len), Some(2048));
    }
}
