//! A progress bar on stderr, where that is a terminal; nothing elsewhere.

use std::time::Duration;

use console::truncate_str;
use indicatif::{MultiProgress, ProgressBar, ProgressFinish, ProgressStyle};

use super::output::is_quiet;
use crate::progress::{Phase, Progress, Snapshot};

/// Time between two looks at the progress.
const TICK: Duration = Duration::from_millis(100);

/// Columns for what moves.
const LONGEST_NAME: usize = 44;

/// Shows how far `work` is until it ends. `what` says what moves, such as `Uploading Nightly`.
pub async fn during<T>(progress: &Progress, what: &str, work: impl Future<Output = T>) -> T {
    during_all(&[(progress, what.to_owned())], work).await
}

/// Shows how far each part of `work` is, with a bar for each, until it ends.
pub(super) async fn during_all<T>(
    parts: &[(&Progress, String)],
    work: impl Future<Output = T>,
) -> T {
    let all = MultiProgress::new();
    let mut bars: Vec<_> = parts
        .iter()
        .map(|(progress, what)| {
            let bar = match is_quiet() {
                true => ProgressBar::hidden(),
                false => all.add(ProgressBar::new_spinner().with_finish(ProgressFinish::AndClear)),
            };
            bar.set_style(style("{spinner} {msg}"));
            Bar { bar, progress, what, is_transferring: false }
        })
        .collect();
    let draw = async {
        let mut ticks = tokio::time::interval(TICK);
        loop {
            ticks.tick().await;
            bars.iter_mut().for_each(Bar::draw);
        }
    };
    let done = tokio::select! {
        biased;
        done = work => done,
        never = draw => never,
    };
    for Bar { bar, .. } in bars {
        bar.finish_and_clear();
    }
    done
}

/// A bar of something that moves.
struct Bar<'a> {
    bar: ProgressBar,
    progress: &'a Progress,
    what: &'a str,
    is_transferring: bool,
}

impl Bar<'_> {
    fn draw(&mut self) {
        let snapshot = self.progress.snapshot();
        let moves = matches!(snapshot.phase, Phase::Transferring | Phase::Verifying);
        if moves && !self.is_transferring {
            self.is_transferring = true;
            // The time before the first byte says nothing about the rate.
            self.bar.reset_elapsed();
            self.bar.reset_eta();
            self.bar.set_style(style(match snapshot.total {
                Some(_) => {
                    "{msg} {bar:20.cyan/dim} {percent:>3}%  {bytes} of {total_bytes}  \
                     {bytes_per_sec}  {eta} left"
                }
                None => "{spinner} {msg} {bytes}  {bytes_per_sec}  {elapsed}",
            }));
        }
        show(&self.bar, &snapshot, self.what);
    }
}

/// Shows that something goes on until `work` ends.
pub(super) async fn waiting<T>(work: impl Future<Output = T>) -> T {
    during(&Progress::default(), "", work).await
}

fn style(template: &str) -> ProgressStyle {
    let style = ProgressStyle::with_template(template);
    style.unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("━╸─")
}

fn show(bar: &ProgressBar, snapshot: &Snapshot, moving: &str) {
    if let Some(total) = snapshot.total {
        bar.set_length(total);
    }
    bar.set_position(snapshot.done);
    let what = match snapshot.phase {
        Phase::Queued | Phase::Starting => "Connecting",
        Phase::Transferring | Phase::Verifying => moving,
        Phase::Finalizing => "Finishing",
        Phase::Aborting => "Cleaning up",
    };
    let what = truncate_str(what, LONGEST_NAME, "…");
    bar.set_message(match snapshot.retries {
        0 => what.into_owned(),
        1 => format!("{what} (1 retry)"),
        retries => format!("{what} ({retries} retries)"),
    });
    bar.tick();
}
