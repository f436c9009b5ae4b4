//! Archives that differ from those of today's Home Assistant: old ones, and ones that try to
//! exhaust the memory or the time of their reader.

use std::ffi::OsStr;
use std::fs::File;
use std::io::Write as _;

use serde_json::{Value, json};

use super::Shell;
use crate::support::TestServer;

fn tar(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, content) in members {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        builder.append_data(&mut header, name, *content).unwrap();
    }
    builder.into_inner().unwrap()
}

fn header(kind: tar::EntryType, size: u64) -> Vec<u8> {
    let mut header = tar::Header::new_gnu();
    header.set_path("././@LongLink").unwrap();
    header.set_entry_type(kind);
    header.set_size(size);
    header.set_cksum();
    header.as_bytes().to_vec()
}

#[tokio::test]
async fn upload_of_old_home_assistant_backup_reads_its_metadata() {
    let server = TestServer::start().await;
    let shell = Shell::of(&server);
    for (name, id, core, protected, expected) in [
        (
            "snapshot.json",
            "5nap0001",
            json!("2021.3.4"),
            json!(false),
            json!(["2021.3.4", true, false]),
        ),
        (
            "backup.json",
            "v1000001",
            json!("2021.9.4"),
            json!(null),
            json!(["2021.9.4", true, false]),
        ),
        (
            "snapshot.json",
            "5nap0002",
            json!({"version": "0.118.5", "boot": true, "port": 8123, "refresh_token": null}),
            json!("k"),
            json!(["0.118.5", true, true]),
        ),
    ] {
        let described = json!({
            "slug": id, "name": "Before 2021.8", "date": "2021-03-04T05:06:07.000000+00:00",
            "type": "full", "homeassistant": core, "folders": ["homeassistant", "share"],
            "addons": [{"slug": "core_ssh", "name": "SSH", "version": "9.0"}], "crypto": null,
            "protected": protected, "repositories": [],
        });
        let described = described.to_string();
        let member = format!("./{name}");
        let content =
            tar(&[("./homeassistant.tar.gz", &[7; 3000]), (&member, described.as_bytes())]);
        let file = shell.write("old.tar", content);
        let stored = shell.run(&[&"upload", &file, &"--json"]).await.json(0);
        let metadata = &stored["backup"]["metadata"];
        assert_eq!(
            (&stored["backup"]["id"], &metadata["folders"]),
            (&json!(id), &json!(["share"]))
        );
        let members = ["homeassistant_version", "homeassistant_included", "protected"];
        assert_eq!(Value::from(members.map(|name| metadata[name].clone()).to_vec()), expected);
        assert_eq!(metadata["database_included"], true);
    }
}

#[tokio::test]
async fn upload_with_huge_tar_headers_uses_little_memory() {
    // No server listens there: the agent inspects the file first, and fails to connect after that.
    let server = TestServer::embedded().await;
    let shell = Shell::of(&server).set("ENDPOINT", "http://127.0.0.1:1");
    let size = 700 << 20;
    let block = 512;
    let chain = || {
        let mut first = tar::Header::new_gnu();
        first.set_entry_type(tar::EntryType::GNUSparse);
        first.as_mut_bytes()[482] = 1;
        first.set_size(0);
        first.set_cksum();
        first.as_bytes().to_vec()
    };
    for (name, begin, repeated, times) in [
        ("long-name", header(tar::EntryType::GNULongName, size), vec![], 0),
        ("long-link", header(tar::EntryType::GNULongLink, size), vec![], 0),
        ("pax", header(tar::EntryType::XHeader, size), vec![], 0),
        ("global", header(tar::EntryType::XGlobalHeader, size), vec![], 0),
        ("beyond-all", header(tar::EntryType::XHeader, u64::MAX), vec![], 0),
        ("beyond-all-name", header(tar::EntryType::GNULongName, u64::MAX - 1), vec![], 0),
        ("beyond-all-file", header(tar::EntryType::Regular, u64::MAX), vec![], 0),
        ("endless-names", vec![], header(tar::EntryType::GNULongName, 0), 20_000),
        ("endless-files", vec![], header(tar::EntryType::Regular, 0), 200_000),
        ("endless-map", chain(), vec![1; block], 200_000),
    ] {
        let path = shell.path(name);
        let mut file = File::create(&path).unwrap();
        file.write_all(&begin).unwrap();
        file.write_all(&repeated.repeat(times)).unwrap();
        file.set_len((begin.len() + repeated.len() * times) as u64 + size + 4096).unwrap();
        drop(file);
        let mut command = tokio::process::Command::new("sh");
        command.args(["-c", "ulimit -v 600000; exec \"$0\" upload --json \"$1\""]);
        command.arg(crate::support::agent_command()).arg(&path);
        command.env_clear().envs(shell.env.iter().cloned()).stdin(std::process::Stdio::null());
        let ran = shell.end(command).await;
        assert!(matches!(ran.code, 6 | 8), "{name}: {ran:?}");
        std::fs::remove_file(path).unwrap();
    }
    assert_eq!(server.objects().await, []);
}

#[tokio::test]
async fn upload_with_too_large_metadata_file_is_refused() {
    let server = TestServer::embedded().await;
    let shell = Shell::of(&server);
    shell.write("file", "x");
    shell.write("metadata", format!("{{\"name\": \"{}\"}}", "x".repeat(200_000)));
    let upload: [&dyn AsRef<OsStr>; 7] =
        [&"upload", &"file", &"--name", &"x", &"--metadata", &"metadata", &"--json"];
    let error = shell.run(&upload).await.error(64, "invalid_params");
    assert!(error["message"].as_str().unwrap().contains("is too large"), "{error}");
}
