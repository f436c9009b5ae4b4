//! The meaning of the numbers in a script: settings, parameters, times, conditions.

use serde_json::{Value, json};

use crate::script::{Download, Request, Upload};
use crate::server::{BUCKET, Condition};

/// A method and its parameters.
type Asked = (&'static str, Value);

/// Milliseconds.
pub const TIMES: [u64; 8] = [1, 20, 200, 999, 2_500, 10_000, 61_000, 400_000];
const BACKUPS: [&str; 6] = ["a", "b", "c", "B & <C>", "", "ü\u{7}"];
const NAMES: [&str; 5] = ["Nightly", "Büro 🏠", "../a & b", "", "Nightly.metadata.json"];
const SIZES: [Option<u64>; 8] = [
    None,
    Some(1),
    Some(1000),
    Some(300_000),
    Some(20 << 20),
    Some(21 << 20),
    Some(0),
    Some(u64::MAX),
];
/// Bytes of a frame.
pub const LENGTHS: [usize; 8] = [1, 250, 1000, 40_000, 65_536, 300_000, 1 << 20, 1 << 20];
pub const CONDITIONS: [Condition; 14] = [
    Condition::Late(1),
    Condition::Late(100),
    Condition::Late(1500),
    Condition::Late(4000),
    Condition::Late(20_000),
    Condition::Refused(500, "InternalError"),
    Condition::Refused(503, "SlowDown"),
    Condition::Refused(403, "AccessDenied"),
    Condition::Refused(404, "NoSuchUpload"),
    Condition::Broken { after: false },
    Condition::Broken { after: true },
    Condition::Damaged,
    Condition::Cut,
    Condition::Page,
];

/// The element of this number.
pub fn one<T: Copy>(of: &[T], which: u8) -> T {
    of[usize::from(which) % of.len()]
}

pub fn initialize(kind: u8) -> Asked {
    let limits = match kind % 4 {
        0 => json!({}),
        1 => json!({"max_payload": 65_536}),
        2 => json!({"max_payload": 1}),
        _ => json!({"max_payload": 300_000, "max_line": 100_000}),
    };
    let protocol = if kind < 250 { 1 } else { 2 };
    ("initialize", json!({"protocol": protocol, "limits": limits}))
}

/// One of three targets. Its folder depends on the target and a little on the settings, so that the
/// same name may later mean another folder.
pub fn open(target: u8, settings: u8) -> Asked {
    let mut config = json!({
        "type": "s3",
        "endpoint": "http://127.0.0.1:9",
        "bucket": if settings >= 250 { "another" } else { BUCKET },
        "prefix": one(&["", "ha", "b/c"], target),
        "folder": if settings & 1 > 0 { "" } else { "backups" },
        "access_key_id": "AKIAEXAMPLE",
        "secret_access_key": "EXAMPLE-SECRET",
    });
    if settings & 2 > 0 {
        config["memory"] = json!(32 << 20);
    }
    if settings & 4 > 0 {
        config["part_size"] = json!(5 << 20);
    }
    if settings & 8 > 0 {
        config["concurrency"] = json!(1);
    }
    ("target.open", json!({"target": name(target), "config": config}))
}

pub fn close(target: u8) -> Asked {
    ("target.close", json!({"target": name(target)}))
}

pub fn request(request: &Request) -> Asked {
    let Request { kind, target, backup, pace, detail } = *request;
    let target = name(target);
    let one_backup = json!({"target": target, "backup_id": one(&BACKUPS, backup)});
    let (method, params) = match kind % 7 {
        0 => ("ping", json!({})),
        1 => {
            let level = if detail & 1 > 0 { "read" } else { "write" };
            ("target.validate", json!({"target": target, "level": level}))
        }
        2 => {
            // Objects have times at the start of the year, so all of them look old.
            let older = if detail & 2 > 0 { 0 } else { 60 };
            let dry_run = detail & 1 > 0;
            let params = json!({"target": target, "older_than_s": older, "dry_run": dry_run});
            ("target.cleanup", params)
        }
        3 => {
            let mut params = json!({"target": target, "refresh": detail & 1 > 0});
            if detail & 2 > 0 {
                params["page_size"] = json!(1 + detail % 3);
                params["cursor"] = json!(one(&NAMES, detail));
            }
            ("backup.list", params)
        }
        4 => ("backup.get", one_backup),
        5 => ("backup.delete", one_backup),
        _ => ("backup.copy", json!({})),
    };
    (method, paced(params, pace))
}

pub fn upload(upload: &Upload) -> Asked {
    let Upload { target, backup, name: title, size, flags, pace } = *upload;
    let mut params = json!({
        "target": name(target),
        "backup": {"id": one(&BACKUPS, backup), "name": one(&NAMES, title)},
        "exact": flags & 1 > 0,
        "if_exists": if flags & 2 > 0 { "replace" } else { "fail" },
    });
    if let Some(size) = one(&SIZES, size) {
        params["size"] = json!(size);
    }
    ("backup.upload", paced(params, pace))
}

pub fn download(download: &Download) -> Asked {
    let Download { target, backup, credit, offset, pace } = *download;
    let params = json!({
        "target": name(target),
        "backup_id": one(&BACKUPS, backup),
        "up_to": u64::from(credit) << 14,
        "offset": u64::from(offset) << 8,
    });
    ("backup.download", paced(params, pace))
}

pub fn shutdown(kind: u8) -> Asked {
    let mode = if kind & 1 > 0 { "abort" } else { "drain" };
    ("shutdown", json!({"mode": mode, "timeout_ms": one(&TIMES, kind >> 1)}))
}

/// Parameters of `cancel`.
pub fn cancel(id: u64, reason: u8) -> Value {
    match reason % 3 {
        0 => json!({"id": id}),
        1 => json!({"id": id, "reason": "user"}),
        _ => json!({"id": id, "reason": "\u{1b}".repeat(2000)}),
    }
}

fn name(target: u8) -> &'static str {
    one(&["t0", "t1", "t2"], target)
}

fn paced(mut params: Value, pace: u8) -> Value {
    if pace & 1 > 0 {
        params["progress_ms"] = json!(one(&[100, 1000, 60_000, 5], pace >> 1));
    }
    if pace & 8 > 0 {
        params["deadline_ms"] = json!(one(&TIMES, pace >> 4));
    }
    params
}
