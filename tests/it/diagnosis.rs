//! `target.validate` with the recorded responses of many providers: the correct check fails, and one
//! sentence says why.
//!
//! `docs/development/diagnosis.md` lists the messages. `WRITE_DIAGNOSIS=1` writes the list again.

use s3_backup_agent::error::Code;
use s3_backup_agent::s3::Operation;
use serde_json::{Value, json};

use crate::connection::open;
use crate::provider_emulation::{Call, PLAIN, Recorded};
use crate::s3_answers::{BUCKET, ROWS, Row};
use crate::support::TestServer;

/// Above the rows.
const TABLE: &str = "| server: fault | call | check | message |\n|---|---|---|---|\n";

/// The checks that may find a recorded answer; none if it cannot occur during a validation.
fn checks(row: &Row) -> &'static [&'static str] {
    let (code, field, details) = row.means;
    let is_elsewhere = details.iter().any(|(name, _)| *name == "expected");
    match (row.operation, code) {
        (Operation::ListObjectsV2, Code::InvalidEndpoint) if is_elsewhere => &["region"],
        (Operation::ListObjectsV2, Code::InvalidEndpoint) => &["service"],
        (Operation::ListObjectsV2, Code::CannotConnect) => &["tcp", "service"],
        (Operation::ListObjectsV2, Code::InvalidCredentials | Code::CredentialsExpired) => {
            &["credentials"]
        }
        (Operation::ListObjectsV2, Code::AccessDenied) if field == "access_key_id" => {
            &["credentials"]
        }
        (Operation::ListObjectsV2, Code::BucketNotFound | Code::InvalidBucketName) => &["bucket"],
        (Operation::ListObjectsV2, Code::WrongRegion) => &["region"],
        (Operation::ListObjectsV2, Code::WrongAddressingStyle) => &["addressing_style"],
        (Operation::ListObjectsV2, Code::Throttled | Code::RemoteError) => &["service", "list"],
        (Operation::ListObjectsV2, _) => &["list"],
        // The first write of an object with a new key.
        (Operation::PutObject, Code::AlreadyExists) => &[],
        (Operation::PutObject, _) => &["write"],
        (Operation::GetObject, _) => &["read"],
        (
            Operation::CreateMultipartUpload
            | Operation::UploadPart
            | Operation::AbortMultipartUpload,
            _,
        ) => &["multipart"],
        (Operation::DeleteObject, _) => &["delete"],
        _ => &[],
    }
}

/// Makes the server answer like this. An answer that other settings can fix is given once.
fn set_recorded_answers(server: &TestServer, row: &Row) {
    let (status, headers, body) = row.answer;
    let once = matches!(row.means.0, Code::WrongRegion | Code::WrongAddressingStyle);
    // An answer that is not S3 goes to every request.
    let is_not_s3 = matches!(
        row.means.0,
        Code::InvalidEndpoint | Code::CannotConnect | Code::Throttled | Code::RemoteError
    );
    let calls = match row.operation {
        Operation::ListObjectsV2 if is_not_s3 => {
            vec![Call::UnsignedList, Call::ListObjectsV2, Call::ListObjects]
        }
        Operation::ListObjectsV2 if !once => vec![Call::ListObjectsV2, Call::ListObjects],
        operation => vec![Call::from(operation)],
    };
    for call in calls {
        let headers = headers.iter();
        server.emulation().add_recorded(Recorded {
            call,
            status,
            headers: headers.map(|(name, value)| (name.to_string(), value.to_string())).collect(),
            body: body.replace(BUCKET, &server.bucket),
            once,
        });
    }
}

/// The endpoint of the row, reached through a proxy, or the endpoint of the server.
async fn validated(server: &TestServer, row: &Row) -> Value {
    let proxy = server.config()["endpoint"].as_str().unwrap().to_owned();
    let (endpoint, environment) = match row.endpoint.starts_with("http://") {
        true => (row.endpoint, vec![("HTTP_PROXY", proxy.as_str()), ("NO_PROXY", "")]),
        false => (proxy.as_str(), vec![]),
    };
    let changes = json!({"region": row.region, "addressing_style": "path"});
    let host = open(server, endpoint, changes, &environment).await.unwrap();
    host.call("target.validate", json!({"target": "t1"})).await.unwrap()
}

/// What is wrong with the result, if anything.
fn mismatch(result: &Value, row: &Row, bucket: &str) -> Option<String> {
    let (code, field, details) = row.means;
    let checks = checks(row);
    let Some(check) = first_failure(result) else {
        return Some(format!("no check failed: {result}"));
    };
    let error = &check["error"];
    let wrong = |what: &str| Some(format!("{what}: {check}"));
    if !checks.iter().any(|name| check["name"] == *name) {
        return wrong(&format!("not found by one of {checks:?}"));
    }
    if error["code"] != code.as_str() {
        return wrong(&format!("not {code}"));
    }
    if error["field"].as_str().unwrap_or_default() != field {
        return wrong(&format!("not the field \"{field}\""));
    }
    for (name, expected) in details {
        let detail = error["details"][*name].to_string();
        if detail.trim_matches('"') != expected.replace(BUCKET, bucket) {
            return wrong(&format!("not {name} = {expected}"));
        }
    }
    (result["ok"] != false).then(|| format!("not failed: {result}"))
}

/// The first check that failed.
fn first_failure(result: &Value) -> Option<&Value> {
    result["checks"].as_array().unwrap().iter().find(|check| check["status"] == "failed")
}

#[tokio::test]
async fn validate_finds_each_recorded_answer_in_the_right_check() {
    let mut table = String::new();
    let mut wrong = Vec::new();
    let rows: Vec<_> = ROWS.iter().filter(|row| !checks(row).is_empty()).collect();
    for row in &rows {
        let server = TestServer::emulating(PLAIN).await;
        set_recorded_answers(&server, row);
        let result = validated(&server, row).await;
        let (check, sentence) = match first_failure(&result) {
            Some(check) => (check["name"].as_str(), check["error"]["message"].as_str()),
            None => (None, None),
        };
        let cells = [check, sentence].map(|cell| cell.unwrap_or("none").replace('|', "\\|"));
        let [check, sentence] = cells;
        let own = server.config()["endpoint"].as_str().unwrap().to_owned();
        let sentence = sentence.replace(&server.bucket, BUCKET).replace(&own, row.endpoint);
        table += &format!("| {} | {:?} | `{check}` | {sentence} |\n", row.name, row.operation);
        if server.emulation().recorded_count() == 0 {
            wrong.push(format!("{}: never asked for", row.name));
        }
        if let Some(fault) = mismatch(&result, row, &server.bucket) {
            wrong.push(format!("{}: {fault}", row.name));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(rows.len() >= 50, "only {} rows", rows.len());
    let file =
        std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/development/diagnosis.md");
    let page = std::fs::read_to_string(&file).unwrap();
    let (head, written) = page.split_at(page.find(TABLE).unwrap() + TABLE.len());
    if std::env::var_os("WRITE_DIAGNOSIS").is_some() {
        std::fs::write(&file, format!("{head}{table}")).unwrap();
    } else {
        assert_eq!(written, table, "docs/development/diagnosis.md is out of date");
    }
}
