//! Parameters of every method: everything that is read can be written and read again, and no error
//! repeats a secret.
#![no_main]

use libfuzzer_sys::fuzz_target;
use s3_backup_agent::Error;
use s3_backup_agent::protocol::{
    BackupRequest, Cancel, CleanupRequest, DownloadRequest, ErrorObject, InitializeRequest,
    ListRequest, ShutdownRequest, StreamCredit, StreamData, StreamEnd, TargetOpenRequest,
    TargetRequest, UploadRequest, ValidateRequest,
};
use s3_backup_agent::session::fuzzing::read_params;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_json::value::{RawValue, to_raw_value};

/// A secret that the test puts in place of the real ones.
const CANARY: &str = "k4n4ry/Gelber+Vogel";

/// Members that hold secrets.
const SECRET: [&str; 2] = ["secret_access_key", "session_token"];

fn shows_canary(error: &Error) -> bool {
    let wire = serde_json::to_string(&ErrorObject::from(error)).unwrap();
    [wire, format!("{error}"), format!("{error:?}")].iter().any(|text| text.contains("k4n4ry"))
}

fn stable<P: DeserializeOwned + Serialize>(params: &RawValue) {
    let Ok(read) = read_params::<P>(params) else { return };
    let written = to_raw_value(&read).unwrap();
    let again = read_params::<P>(&written).unwrap();
    assert_eq!(written.get(), to_raw_value(&again).unwrap().get());
}

/// Replaces every secret with the canary, whatever value is there.
fn plant(value: &mut Value, secret: bool) {
    match value {
        Value::Object(members) => {
            for (name, value) in members {
                plant(value, secret || SECRET.contains(&name.as_str()));
            }
        }
        Value::Array(elements) => elements.iter_mut().for_each(|value| plant(value, secret)),
        // A reference to a file or a credential contains no secret, and no file may be read here.
        Value::String(text) if secret => CANARY.clone_into(text),
        Value::String(_) | Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

fn open(params: &RawValue) {
    let Ok(mut value) = serde_json::from_str::<Value>(params.get()) else { return };
    if value.to_string().contains("k4n4ry") {
        // The fuzzer has seen the word in a comparison and used it outside of a secret.
        return;
    }
    plant(&mut value, false);
    let params = to_raw_value(&value).unwrap();
    let opened = match read_params::<TargetOpenRequest>(&params) {
        Err(error) => return assert!(!shows_canary(&error), "{error:?}"),
        Ok(opened) => opened,
    };
    assert!(!format!("{opened:?}").contains(CANARY) || names_a_place(&value), "{opened:?}");
    if names_a_place(&value) {
        return;
    }
    match opened.config.check() {
        Err(error) => assert!(!shows_canary(&error), "{error:?}"),
        Ok(config) => assert!(!format!("{config:?}").contains(CANARY), "{config:?}"),
    }
}

/// Whether a secret is `{"file": ...}` or `{"credential": ...}`.
fn names_a_place(params: &Value) -> bool {
    SECRET.iter().any(|name| params["config"][name].is_object())
}

fuzz_target!(|data: &[u8]| {
    let Some((method, params)) = data.split_first() else { return };
    let Ok(params) = std::str::from_utf8(params) else { return };
    let Ok(params) = serde_json::from_str::<&RawValue>(params) else { return };
    // In the order of the table in seeds.py.
    match method % 14 {
        0 => stable::<InitializeRequest>(params),
        1 => stable::<ShutdownRequest>(params),
        2 => stable::<TargetRequest>(params),
        3 => stable::<ValidateRequest>(params),
        4 => stable::<CleanupRequest>(params),
        5 => stable::<UploadRequest>(params),
        6 => stable::<DownloadRequest>(params),
        7 => stable::<ListRequest>(params),
        8 => stable::<BackupRequest>(params),
        9 => stable::<Cancel>(params),
        10 => stable::<StreamData>(params),
        11 => stable::<StreamEnd>(params),
        12 => stable::<StreamCredit>(params),
        _ => open(params),
    }
});
