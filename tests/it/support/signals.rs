//! Signals that the tests inherited as ignored, and that their child processes would inherit too.

use std::sync::Once;

use tokio::signal::unix::{SignalKind, signal};

/// Signals without the real-time ones.
const LAST: i32 = 31;

/// Programs that are started from now on begin with the default signals. A shell without job
/// control starts background jobs with SIGINT ignored, and `nohup` ignores SIGHUP.
pub(super) fn give_defaults() {
    static DONE: Once = Once::new();
    DONE.call_once(|| {
        let ignored = ignored_signals();
        if ignored.is_empty() {
            return;
        }
        // A handler is not inherited, while "ignored" is. It outlives the runtime and does nothing.
        // The thread has no other runtime in which this one could be dropped.
        let handle = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build();
            let runtime = runtime.unwrap();
            let _entered = runtime.enter();
            for number in ignored {
                drop(signal(SignalKind::from_raw(number)).unwrap());
            }
        });
        handle.join().unwrap();
    });
}

/// The standard library resets SIGPIPE for every program by itself.
fn ignored_signals() -> Vec<i32> {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).unwrap_or("0");
    let mask = u64::from_str_radix(mask.trim(), 16).unwrap();
    let pipe = SignalKind::pipe().as_raw_value();
    (1..=LAST).filter(|number| *number != pipe && mask >> (number - 1) & 1 == 1).collect()
}
