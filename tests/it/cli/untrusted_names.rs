//! Names that others wrote into the bucket: on the terminal, in JSON, and as file names.

use s3_backup_agent::error::text::is_hidden;
use serde_json::{Value, json};

use super::Shell;
use crate::support::TestServer;

/// The names in the bucket, and how a terminal shows them.
const NAMES: &[(&str, &str)] = &[
    ("a\u{1b}[2J\u{1b}]0;title\u{7}b", "a [2J ]0;title b"),
    ("a\u{9b}31mb\u{7f}", "a 31mb"),
    ("photo\u{202e}gpj.tar", "photo\u{fffd}gpj.tar"),
    ("one\r\ntwo\u{2028}three", "one  two three"),
    ("zero\u{200b}\u{feff}\u{e0041}width", "zero\u{fffd}width"),
    ("Sicherung Büro 👩\u{200d}👧 גיבוי", "Sicherung Büro 👩\u{200d}👧 גיבוי"),
];

async fn bucket_with_untrusted_names() -> TestServer {
    let server = TestServer::embedded().await;
    for (number, (name, _)) in NAMES.iter().enumerate() {
        let document = json!({
            "backup_id": format!("id-{number}"), "name": name, "size": 5, "protected": false,
            "date": if number == 0 { "+262142-12-31T23:59:59" } else { "2026-11-20T04:32:00Z" },
            "addons": [{"name": name, "version": name}], "folders": [name],
            "extra_metadata": {*name: name}, "homeassistant_version": name,
        });
        let key = format!("backups/{number}\u{202e}{number}");
        server.put(&format!("{key}.metadata.json"), document.to_string()).await;
        server.put(&format!("{key}.tar"), "12345").await;
    }
    server.put("backups/x\u{202e}y\u{2066}.metadata.json", "junk").await;
    server.put("backups/x\u{202e}y\u{2066}.tar", "12345").await;
    server
}

fn hidden_in(text: &str) -> String {
    text.chars().filter(|letter| *letter != '\n' && is_hidden(*letter)).collect()
}

#[tokio::test]
async fn untrusted_name_cannot_control_the_terminal() {
    let server = bucket_with_untrusted_names().await;
    let shell = Shell::of(&server);
    let listed = shell.run(&[&"list"]).await;
    assert_eq!(listed.code, 0, "{listed:?}");
    for (_, shown) in NAMES {
        assert!(listed.stdout.contains(shown), "{shown:?} in {listed:?}");
    }
    assert!(listed.stdout.contains("Incomplete (1)"), "{listed:?}");
    for arguments in [
        &["list", "-vv"][..],
        &["verify", "id-0", "id-2", "-vv"],
        &["cleanup", "--dry-run"],
        &["repair", "--dry-run"],
        &["info", "id-0"],
        &["info", "id-2"],
        &["info", "\u{1b}[2J\u{202e}"],
        &["delete", "id-3", "--yes"],
    ] {
        let arguments: Vec<_> =
            arguments.iter().map(|it| it as &dyn AsRef<std::ffi::OsStr>).collect();
        let ran = shell.run(&arguments).await;
        assert_eq!(hidden_in(&ran.stdout), "", "{ran:?}");
        assert_eq!(hidden_in(&ran.stderr), "", "{ran:?}");
    }
}

#[tokio::test]
async fn untrusted_name_in_json_is_escaped_and_complete() {
    let server = bucket_with_untrusted_names().await;
    let shell = Shell::of(&server);
    let listed = shell.run(&[&"list", &"--json"]).await;
    assert_eq!(hidden_in(&listed.stdout), "", "{listed:?}");
    let result: Value = serde_json::from_str(&listed.stdout).unwrap();
    let backups = result["backups"].as_array().unwrap();
    assert_eq!(backups.len(), NAMES.len());
    for (number, (name, _)) in NAMES.iter().enumerate() {
        let id = format!("id-{number}");
        let backup = backups.iter().find(|backup| backup["id"] == id).unwrap();
        assert_eq!(backup["metadata"]["name"], *name);
        assert_eq!(backup["name"], format!("{number}\u{202e}{number}"));
    }
    assert_eq!(result["skipped"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn untrusted_name_becomes_a_plain_file_name() {
    let server = bucket_with_untrusted_names().await;
    let shell = Shell::of(&server);
    let ran = shell.run(&[&"download", &"id-1"]).await;
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(shell.files(), ["1_1.tar"]);
    assert_eq!(hidden_in(&(ran.stdout + &ran.stderr)), "");
}
