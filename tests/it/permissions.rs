//! The permissions of the account keys: those in STORAGE.md are sufficient, and without any one of
//! them the agent names the missing one.
//!
//! Needs a server with a user whose permissions its IAM API sets: `TEST_S3_LIMITED_USER`,
//! `TEST_S3_LIMITED_ACCESS_KEY_ID` and `TEST_S3_LIMITED_SECRET_ACCESS_KEY`. A server that ignores
//! the conditions of policies sets `TEST_S3_POLICY_CONDITIONS=0`.

use std::process::Command;

use s3_backup_agent::demo::host::Host;
use serde_json::{Value, json};

use crate::cli::{REAL, real_backup};
use crate::e2e::{backup, connect_with, store};
use crate::random_data::RandomData;
use crate::support::TestServer;

const PERMISSIONS: [&str; 7] = [
    "s3:ListBucket",
    "s3:GetObject",
    "s3:PutObject",
    "s3:DeleteObject",
    "s3:AbortMultipartUpload",
    "s3:ListBucketMultipartUploads",
    "s3:ListMultipartUploadParts",
];

/// The operations that are tried, in this order.
const OPERATIONS: [&str; 13] = [
    "list",
    "get",
    "download",
    "verify",
    "upload",
    "upload in parts",
    "replace",
    "roll back",
    "delete",
    "cleanup",
    "repair",
    "validate read",
    "validate write",
];

/// How an operation ends without a permission. Operations that are not listed here still work.
const EXPECTED: [(&str, &[&str], &str); 16] = [
    (
        "s3:ListBucket",
        &[
            "list",
            "get",
            "download",
            "upload",
            "upload in parts",
            "replace",
            "roll back",
            "delete",
            "cleanup",
            "verify",
            "repair",
        ],
        "access_denied s3:ListBucket",
    ),
    ("s3:ListBucket", &["validate read", "validate write"], "list: access_denied s3:ListBucket"),
    // Metadata objects that cannot be read are left out of the listing.
    ("s3:GetObject", &["list"], "skipped: access_denied"),
    (
        "s3:GetObject",
        &["get", "download", "verify", "delete", "repair"],
        "access_denied s3:GetObject",
    ),
    ("s3:GetObject", &["upload", "upload in parts", "replace"], "access_denied s3:GetObject"),
    ("s3:GetObject", &["validate write"], "read: access_denied s3:GetObject"),
    (
        "s3:PutObject",
        &["upload", "upload in parts", "replace", "roll back"],
        "access_denied s3:PutObject",
    ),
    ("s3:PutObject", &["repair"], "repairable: access_denied s3:PutObject"),
    ("s3:PutObject", &["validate write"], "write: access_denied s3:PutObject"),
    ("s3:DeleteObject", &["delete"], "access_denied s3:DeleteObject"),
    ("s3:DeleteObject", &["validate write"], "delete: access_denied s3:DeleteObject"),
    ("s3:AbortMultipartUpload", &["roll back"], "length_mismatch, cleanup failed"),
    ("s3:AbortMultipartUpload", &["cleanup"], "failed: access_denied s3:AbortMultipartUpload"),
    (
        "s3:AbortMultipartUpload",
        &["validate write"],
        "multipart: access_denied s3:AbortMultipartUpload",
    ),
    ("s3:ListBucketMultipartUploads", &["cleanup"], "access_denied s3:ListBucketMultipartUploads"),
    ("s3:ListMultipartUploadParts", &["cleanup"], "access_denied s3:ListMultipartUploadParts"),
];

/// Where a server differs: server, missing permission (none: any), operation, how it ends.
const DIFFERENT: [(&str, &str, &[&str], &str); 1] = [
    // There the writer of an object owns it, and owners may read.
    ("ceph", "s3:GetObject", &["upload", "upload in parts", "replace", "validate write"], "ok"),
];

fn expected(without: Option<&str>, operation: &str) -> &'static str {
    let short_error = without.and_then(|permission| {
        let mut known = EXPECTED.iter();
        known.find(|(known, operations, _)| *known == permission && operations.contains(&operation))
    });
    let usual = short_error.map_or("ok", |(_, _, ends)| ends);
    let server = std::env::var("TEST_S3_NAME").unwrap_or_default();
    let different = DIFFERENT.iter().find(|(name, permission, operations, _)| {
        *name == server && without == Some(*permission) && operations.contains(&operation)
    });
    different.map_or(usual, |(_, _, _, ends)| ends)
}

fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("this test needs {name}"))
}

/// The policy from STORAGE.md, for the bucket of the test, without one of the permissions.
fn policy(server: &TestServer, without: Option<&str>) -> Value {
    let document = include_str!("../../protocol/STORAGE.md");
    let (_, rest) = document.split_once("```json\n{\n  \"Version\"").unwrap();
    let (policy, _) = rest.split_once("```").unwrap();
    let text =
        format!("{{\"Version\"{policy}").replace(":::backups", &format!(":::{}", server.bucket));
    let mut policy: Value = serde_json::from_str(&text).unwrap();
    let statements = policy["Statement"].as_array_mut().unwrap();
    for statement in &mut *statements {
        let actions = match statement["Action"].take() {
            Value::Array(actions) => actions,
            action => vec![action],
        };
        let kept: Vec<_> = actions.into_iter().filter(|it| it.as_str() != without).collect();
        statement["Action"] = kept.into();
        if std::env::var("TEST_S3_POLICY_CONDITIONS").as_deref() == Ok("0") {
            statement.as_object_mut().unwrap().remove("Condition");
        }
    }
    statements.retain(|statement| statement["Action"] != json!([]));
    policy
}

/// Gives the limited user these permissions and no others.
fn set_permissions(policy: &Value) {
    let form = url::form_urlencoded::Serializer::new(String::new())
        .append_pair("Action", "PutUserPolicy")
        .append_pair("Version", "2010-05-08")
        .append_pair("UserName", &variable("TEST_S3_LIMITED_USER"))
        .append_pair("PolicyName", "test")
        .append_pair("PolicyDocument", &policy.to_string())
        .finish();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/servers/s3_request.py");
    let command = ["--service", "iam", "POST", "/", &form];
    let ended = Command::new("python3").arg(script).args(command).output().unwrap();
    assert!(ended.status.success(), "{ended:?}");
}

/// An error in short form: its code and the permission that it names.
fn short_error(error: &Value) -> String {
    let text = |value: &Value| value.as_str().map(|text| format!(" {text}")).unwrap_or_default();
    let short_error =
        format!("{}{}", error["code"].as_str().unwrap(), text(&error["details"]["action"]));
    if error["cleanup"] == "failed" {
        format!("{short_error}, cleanup failed")
    } else {
        short_error
    }
}

fn outcome(answer: Result<Value, Box<s3_backup_agent::protocol::ErrorObject>>) -> String {
    match answer {
        Ok(result) => reported_refusals(&result),
        Err(error) => short_error(&serde_json::to_value(&error.data).unwrap()),
    }
}

/// The refusals that a result reports.
fn reported_refusals(result: &Value) -> String {
    let refused = |list: &str, status: fn(&Value) -> bool| {
        let entries = result[list].as_array().into_iter().flatten();
        entries.filter(|entry| status(entry)).cloned().collect::<Vec<_>>()
    };
    if let Some(entry) = refused("skipped", |_| true).first() {
        return format!("skipped: {}", short_error(entry));
    }
    if let Some(entry) = refused("items", |it| it["status"] == "failed").first() {
        return format!("{}: {}", entry["status"].as_str().unwrap(), short_error(&entry["error"]));
    }
    if let Some(entry) = refused("archives", |it| it["status"] != "repaired").first() {
        return format!("{}: {}", entry["status"].as_str().unwrap(), short_error(&entry["error"]));
    }
    if let Some(check) = refused("checks", |it| it["status"] == "failed").first() {
        assert_eq!(result["ok"], false);
        return format!("{}: {}", check["name"].as_str().unwrap(), short_error(&check["error"]));
    }
    "ok".to_owned()
}

/// How each of the operations ends for the limited user.
async fn outcomes(server: &TestServer, host: &Host) -> Vec<String> {
    let of = |id: &str| json!({"target": "t1", "backup_id": id});
    let large = || RandomData::new(3, 21 << 20);
    let mut outcomes = Vec::new();
    for operation in OPERATIONS {
        let answer = match operation {
            "list" => host.call("backup.list", json!({"target": "t1", "refresh": true})).await,
            "get" => host.call("backup.get", of("kept")).await,
            "download" => host.download("t1", "kept", json!({}), 4 << 20, |_| {}).await,
            "verify" => host.call("backup.verify", of("kept")).await,
            "upload" => host.upload("t1", backup("new"), json!({}), &b"new"[..]).await,
            "upload in parts" => host.upload("t1", backup("large"), json!({}), large()).await,
            "replace" => {
                let replace = json!({"if_exists": "replace"});
                host.upload("t1", backup("old"), replace, &b"newer"[..]).await
            }
            "roll back" => {
                let longer = json!({"size": 30 << 20});
                let answer = host.upload("t1", backup("short"), longer, large()).await;
                let error = answer.unwrap_err();
                let rolls_back = error.data.code == "length_mismatch"
                    && serde_json::to_value(error.data.cleanup).unwrap() != "failed";
                if rolls_back { Ok(json!({})) } else { Err(error) }
            }
            "delete" => host.call("backup.delete", of("gone")).await,
            "cleanup" => {
                server.abandon_upload("ha/backups/abandoned.tar", true).await;
                host.call("target.cleanup", json!({"target": "t1", "older_than_s": 0})).await
            }
            "repair" => {
                let archive = std::fs::read(real_backup(REAL[0].0)).unwrap();
                server.put("ha/backups/lone.tar", archive).await;
                host.call("target.repair", json!({"target": "t1"})).await
            }
            other => {
                let level = other.rsplit(' ').next().unwrap();
                host.call("target.validate", json!({"target": "t1", "level": level})).await
            }
        };
        outcomes.push(outcome(answer));
    }
    outcomes
}

#[tokio::test]
#[ignore = "needs a server with a user whose permissions can be set"]
async fn documented_permissions_are_sufficient_and_each_is_needed() {
    let mut wrong = Vec::new();
    for without in [None].into_iter().chain(PERMISSIONS.map(Some)) {
        let server = TestServer::start().await;
        let owner = connect_with(&server, json!({"prefix": "ha"})).await;
        for id in ["kept", "old", "gone"] {
            store(&owner, id, 1, 1000).await;
        }
        set_permissions(&policy(&server, without));
        let limited = json!({
            "prefix": "ha",
            "access_key_id": variable("TEST_S3_LIMITED_ACCESS_KEY_ID"),
            "secret_access_key": variable("TEST_S3_LIMITED_SECRET_ACCESS_KEY"),
        });
        let host = connect_with(&server, limited).await;
        let outcomes = outcomes(&server, &host).await;
        if without.is_none() {
            println!("| missing right | operation | how it ends |\n|---|---|---|");
        }
        for (operation, outcome) in OPERATIONS.iter().zip(&outcomes) {
            let missing = without.unwrap_or("none");
            println!("| {missing} | {operation} | {outcome} |");
            let expected = expected(without, operation);
            if outcome != expected {
                wrong.push(format!("{operation} without {missing}: {outcome}, not {expected}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
