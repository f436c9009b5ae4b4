//! Every operation on every kind of input.

#[cfg(unix)]
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::{CommandResult, REAL, Shell, real_backup};
use crate::support::TestServer;

#[tokio::test]
async fn home_assistant_backup_round_trips_unchanged() {
    let server = TestServer::start().await;
    let shell = Shell::of(&server);
    for (file, id, name, protected) in REAL {
        let uploaded = shell.run(&[&"upload", &real_backup(file), &"--json"]).await.json(0);
        let backup = &uploaded["backup"];
        assert_eq!((&backup["id"], &backup["name"]), (&json!(id), &json!(file)));
        let metadata = json!({
            "addons": [],
            "backup_id": id,
            "database_included": false,
            "date": backup["metadata"]["date"],
            "extra_metadata": {
                "instance_id": "4258f62416264697a159134f98437644",
                "with_automatic_settings": false,
            },
            "folders": [],
            "homeassistant_included": true,
            "homeassistant_version": "2026.11.0",
            "name": name,
            "protected": protected,
            "size": 20480,
        });
        assert_eq!(backup["metadata"], metadata);
        assert!(backup["metadata"]["date"].as_str().unwrap().starts_with("2026-11-20T04:32:33."));
    }
    let folder = format!("{}/backups/", server.prefix).trim_start_matches('/').to_owned();
    let keys: Vec<_> = server.objects().await.into_iter().map(|(key, _)| key).collect();
    let expected = REAL.iter().flat_map(|(file, ..)| {
        [format!("{folder}{file}.metadata.json"), format!("{folder}{file}.tar")]
    });
    assert_eq!(keys, expected.collect::<Vec<_>>());

    let listed = shell.run(&[&"list", &"--json"]).await.json(0);
    let ids: Vec<_> = listed["backups"].as_array().unwrap().iter().map(|it| &it["id"]).collect();
    assert_eq!(ids, ["b52acd05", "f70bff2b"]);
    assert_eq!((&listed["next"], &listed["skipped"]), (&Value::Null, &json!([])));
    // Newest first.
    let table = shell.run(&[&"list"]).await;
    let rows: Vec<_> = table.stdout.lines().collect();
    assert_eq!(table.code, 0);
    assert!(
        rows[0].starts_with("DATE") && rows[1].contains("f70bff2b  yes        yes"),
        "{table:?}"
    );
    assert!(rows[2].contains("Automatic backup 2026.11.0    20.00 KiB  b52acd05  no"), "{table:?}");
    assert_eq!(rows[3], "2 backups, 40.00 KiB");

    let got = shell.run(&[&"info", &"f70bff2b", &"--json"]).await.json(0);
    assert_eq!(got["backup"], listed["backups"][1]);
    let text = shell.run(&[&"info", &"Automatic backup 2026.11.0"]).await.stdout;
    assert!(text.contains("ID                       b52acd05"), "{text}");

    for (file, id, name, _) in REAL {
        let downloaded = shell.run(&[&"download", &name, &"--json"]).await.json(0);
        let path = Path::new(".").join(format!("{file}.tar"));
        assert_eq!(downloaded, json!({"length": 20480, "verified": true, "path": path}));
        let original = std::fs::read(real_backup(file)).unwrap();
        assert!(std::fs::read(shell.folder.path().join(&path)).unwrap() == original);

        let ran = shell.run(&[&"download", &id, &"-o", &"-"]).await;
        assert_eq!((ran.code, ran.stdout), (0, String::from_utf8_lossy(&original).into_owned()));

        let refused = shell.run(&[&"delete", &id, &"--json"]).await;
        refused.error(64, "invalid_params");
        let deleted = shell.run(&[&"delete", &id, &"--yes", &"--json"]).await.json(0);
        assert_eq!(deleted, json!({"deleted": true}));
    }
    assert_eq!(server.objects().await, []);
    assert_eq!(shell.run(&[&"list"]).await.stdout, "");
    shell.run(&[&"delete", &"f70bff2b", &"--yes", &"--json"]).await.error(3, "not_found");
}

#[tokio::test]
async fn any_file_can_be_uploaded_under_a_name() {
    let server = TestServer::start().await;
    let shell = Shell::of(&server);
    shell.write("photos.zip", b"no tar at all");
    shell.write(
        "more.json",
        br#"{"folders": ["media"], "extra": 1, "date": "2020-01-01T00:00:00Z"}"#,
    );
    let upload: [&dyn AsRef<std::ffi::OsStr>; 8] = [
        &"upload",
        &"photos.zip",
        &"--name",
        &"Photos / 2026",
        &"--id",
        &"p1",
        &"--metadata",
        &"more.json",
    ];
    let ran = shell.run(&upload).await;
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(ran.stdout.starts_with("Uploaded Photos / 2026 (13 B) in "), "{ran:?}");
    assert_eq!(ran.stderr, "");
    let backup = shell.run(&[&"info", &"Photos / 2026", &"--json"]).await.json(0)["backup"].take();
    assert_eq!((&backup["id"], &backup["name"]), (&json!("p1"), &json!("Photos _ 2026")));
    assert_eq!(backup["metadata"]["folders"], json!(["media"]));
    assert_eq!(backup["metadata"]["size"], json!(13));
    assert_eq!(backup["metadata"]["extra"], json!(1));

    let before = server.objects().await;
    let ran = shell.run(&[&upload[..], &[&"--json"]].concat()).await;
    ran.error(4, "already_exists");
    assert_eq!(server.objects().await, before);
    shell.write("photos.zip", b"and now another");
    let replaced = shell.run(&[&upload[..], &[&"--replace", &"--json"]].concat()).await;
    assert_eq!(replaced.json(0)["backup"]["stored_size"], json!(15));
    assert_eq!(server.objects().await.len(), 2);

    // Two backups of one name need an id.
    shell.run(&[&"upload", &"photos.zip", &"--name", &"Photos / 2026", &"--json"]).await.json(0);
    let error =
        shell.run(&[&"info", &"Photos / 2026", &"--json"]).await.error(64, "invalid_params");
    assert!(error["message"].as_str().unwrap().contains("p1"), "{error}");
}

#[tokio::test]
async fn upload_flags_override_backup_metadata() {
    let server = TestServer::start().await;
    let shell = Shell::of(&server);
    shell.write("more.json", br#"{"folders": ["media"], "name": "Not this"}"#);
    let file = real_backup(REAL[0].0);
    let upload: [&dyn AsRef<std::ffi::OsStr>; 9] = [
        &"upload",
        &file,
        &"--name",
        &"Mine",
        &"--id",
        &"m",
        &"--metadata",
        &"more.json",
        &"--json",
    ];
    let backup = shell.run(&upload).await.json(0)["backup"].take();
    assert_eq!((&backup["id"], &backup["name"]), (&json!("m"), &json!("Mine")));
    let metadata = &backup["metadata"];
    assert_eq!((&metadata["backup_id"], &metadata["name"]), (&json!("m"), &json!("Mine")));
    assert_eq!(metadata["folders"], json!(["media"]));
    assert_eq!(metadata["homeassistant_version"], json!("2026.11.0"));
}

#[tokio::test]
async fn upload_from_stdin_stores_the_complete_stream() {
    let server = TestServer::start().await;
    let shell = Shell::of(&server);
    let large: Vec<u8> = (0..21 << 20).map(|at: u32| (at % 249) as u8).collect();
    for (id, content) in [("small", &large[..70_000]), ("large", &large[..])] {
        let upload: [&dyn AsRef<std::ffi::OsStr>; 6] =
            [&"upload", &"-", &"--name", &"From a pipe", &"--id", &id];
        let ran = shell.run_with_input(&upload, content).await;
        assert_eq!(ran.code, 0, "{ran:?}");
        let ran =
            shell.run(&[&"download", &id, &"-o", &"back", &"--force", &"--json"]).await.json(0);
        assert_eq!(ran["verified"], json!(true));
        assert!(std::fs::read(shell.path("back")).unwrap() == content);
    }
    assert_eq!(server.open_uploads().await, []);
}

/// Stores the folder, downloads it and unpacks it.
async fn round_trip(shell: &Shell, folder: &Path) -> (CommandResult, PathBuf) {
    let ran = shell.run(&[&"upload", &folder, &"--id", &"c"]).await;
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(shell.run(&[&"download", &"c", &"-o", &"back.tar"]).await.code, 0);
    let back = shell.path("back");
    tar::Archive::new(std::fs::File::open(shell.path("back.tar")).unwrap()).unpack(&back).unwrap();
    (ran, back.join(folder.file_name().unwrap()))
}

#[tokio::test]
async fn upload_of_folder_packs_it_while_sending() {
    let server = TestServer::start().await;
    let shell = Shell::of(&server);
    let folder = shell.path("my config");
    std::fs::create_dir_all(folder.join("deep/empty")).unwrap();
    std::fs::write(folder.join("configuration.yaml"), "default_config:\n").unwrap();
    let long_name = format!("deep/{}", "ü".repeat(120));
    std::fs::write(folder.join(&long_name), vec![7; 3 << 20]).unwrap();

    let (ran, back) = round_trip(&shell, &folder).await;
    assert!(ran.stdout.starts_with("Uploaded my config ("), "{ran:?}");
    let text = std::fs::read_to_string(back.join("configuration.yaml")).unwrap();
    assert_eq!(text, "default_config:\n");
    assert!(std::fs::read(back.join(&long_name)).unwrap() == vec![7; 3 << 20]);
    assert!(back.join("deep/empty").is_dir());
}

#[cfg(unix)]
#[tokio::test]
async fn upload_of_folder_keeps_links_and_permissions() {
    let server = TestServer::start().await;
    let shell = Shell::of(&server);
    let folder = shell.path("my config");
    std::fs::create_dir_all(folder.join("deep")).unwrap();
    let file = folder.join("configuration.yaml");
    std::fs::write(&file, "default_config:\n").unwrap();
    std::fs::set_permissions(&file, PermissionsExt::from_mode(0o640)).unwrap();
    symlink("../configuration.yaml", folder.join("deep/link")).unwrap();
    symlink("/nowhere", folder.join("broken link")).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(folder.join("socket")).unwrap();

    let (ran, back) = round_trip(&shell, &folder).await;
    assert!(ran.stderr.contains("my config/socket is left out"), "{ran:?}");
    assert_eq!(std::fs::read_to_string(back.join("deep/link")).unwrap(), "default_config:\n");
    assert_eq!(std::fs::read_link(back.join("broken link")).unwrap().to_str(), Some("/nowhere"));
    let mode = back.join("configuration.yaml").metadata().unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o640);
    assert!(!back.join("socket").exists());
}

#[tokio::test]
async fn file_keeps_its_name_and_folder_says_how_to_unpack_it() {
    let server = TestServer::start().await;
    let shell = Shell::of(&server);
    let folder = shell.path("config");
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("a"), "a").unwrap();
    shell.write("photos.zip", b"zip");
    shell.write("dump.tar", b"no tar");
    for (file, name) in [("photos.zip", "photos.zip"), ("dump.tar", "dump")] {
        let uploaded = shell.run(&[&"upload", &file, &"--json"]).await.json(0);
        assert_eq!(uploaded["backup"]["metadata"]["name"], name);
        std::fs::remove_file(shell.path(file)).unwrap();
        assert_eq!(shell.run(&[&"download", &name, &"-q"]).await.stdout, "");
        assert!(shell.path(file).is_file(), "{file}: {:?}", shell.files());
    }
    let command: [&dyn AsRef<std::ffi::OsStr>; 5] =
        [&"upload", &"-", &"--name", &"home.sql", &"-q"];
    let ran = shell.run_with_input(&command, b"rows").await;
    assert_eq!((ran.code, ran.stdout.as_str(), ran.stderr.as_str()), (0, "", ""), "{ran:?}");
    assert_eq!(shell.run(&[&"download", &"home.sql"]).await.code, 0);
    assert!(shell.path("home.sql").is_file(), "{:?}", shell.files());
    let ran = shell.run(&[&"upload", &folder, &"--id", &"c"]).await;
    assert!(ran.stderr.ends_with("s3-backup-agent download c -o - | tar -x\n"), "{ran:?}");
}

#[tokio::test]
async fn file_name_from_the_bucket_cannot_leave_the_folder() {
    let server = TestServer::start().await;
    let shell = Shell::of(&server);
    for name in ["../outside", "/etc/passwd", ".bashrc", "a\\b", ""] {
        let metadata = serde_json::json!({"file_name": name}).to_string();
        shell.write("more.json", metadata);
        let more: [&dyn AsRef<std::ffi::OsStr>; 8] =
            [&"upload", &"-", &"--name", &"x", &"--id", &"x", &"--metadata", &"more.json"];
        let ran = shell.run_with_input(&more, b"content").await;
        assert_eq!(ran.code, 0, "{ran:?}");
        assert_eq!(shell.run(&[&"download", &"x", &"--force"]).await.code, 0);
        assert_eq!(shell.files(), ["more.json", "x.tar"], "{name}");
        assert_eq!(shell.run(&[&"delete", &"x", &"--yes"]).await.code, 0);
    }
}

#[tokio::test]
async fn list_says_where_it_looked_and_has_a_limit() {
    let server = TestServer::start().await;
    let shell = Shell::of(&server);
    for (id, date) in [("old", "2026-01-01"), ("new", "2026-03-01"), ("mid", "2026-02-01")] {
        shell.write("more.json", format!("{{\"date\": \"{date}T00:00:00+00:00\"}}"));
        let upload: [&dyn AsRef<std::ffi::OsStr>; 8] =
            [&"upload", &"-", &"--name", &id, &"--id", &id, &"--metadata", &"more.json"];
        assert_eq!(shell.run_with_input(&upload, b"content").await.code, 0);
    }
    let ran = shell.run(&[&"list", &"--limit", &"2"]).await;
    let lines: Vec<_> = ran.stdout.lines().collect();
    assert!(lines[1].contains("  new  ") && lines[2].contains("  mid  "), "{ran:?}");
    assert_eq!(lines[3], "2 of 3 backups, 21 B");
    assert!(ran.stderr.starts_with("Backups in bucket \""), "{ran:?}");
    let listed = shell.run(&[&"list", &"--limit", &"2", &"--json"]).await.json(0);
    assert_eq!(listed["backups"].as_array().unwrap().len(), 2);
    let quiet = shell.run(&[&"list", &"-q"]).await;
    assert!(quiet.stderr.is_empty() && quiet.stdout.starts_with("DATE"), "{quiet:?}");
    let verbose = shell.run(&[&"list", &"-v"]).await;
    assert!(
        verbose.stderr.contains("list: ") && verbose.stderr.contains(" requests in "),
        "{verbose:?}"
    );
}

#[tokio::test]
async fn validate_reports_what_works() {
    let server = TestServer::start().await;
    let shell = Shell::of(&server);
    let ran = shell.run(&[&"validate"]).await;
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{ran:?}");
    assert!(ran.stdout.ends_with("The bucket can be used.\n"), "{ran:?}");
    for check in ["list", "write", "read", "multipart", "delete"] {
        assert!(ran.stdout.contains(&format!("  ✓ {check}")), "{ran:?}");
    }
    let validated = shell.run(&[&"validate", &"--read-only", &"--json"]).await.json(0);
    assert_eq!(
        (&validated["ok"], validated["checks"].as_array().unwrap().len()),
        (&json!(true), 11)
    );
    assert_eq!(server.objects().await, []);
    assert_eq!(server.open_uploads().await, []);
}

#[tokio::test]
async fn incomplete_backup_is_listed_at_bottom_and_can_be_deleted() {
    let server = TestServer::start().await;
    let shell = Shell::of(&server);
    let folder = format!("{}/backups/", server.prefix).trim_start_matches('/').to_owned();
    server.put(&format!("{folder}foreign.tar"), *b"content").await;
    let foreign = br#"{"backup_id":"f","name":"\u001b[31mForeign","date":"2026-01-01","size":7}"#;
    server.put(&format!("{folder}foreign.metadata.json"), *foreign).await;
    server.put(&format!("{folder}lost.metadata.json"), *br#"{"backup_id":"l"}"#).await;
    server.put(&format!("{folder}notes.metadata.json"), *b"my notes").await;

    let ran = shell.run(&[&"list"]).await;
    assert_eq!(ran.code, 0);
    assert!(ran.stdout.contains("[31mForeign") && !ran.stdout.contains('\u{1b}'), "{ran:?}");
    assert!(ran.stdout.contains("Incomplete (2):"), "{ran:?}");
    assert!(
        ran.stdout.contains(
            "notes.metadata.json\n    the metadata is not a JSON object (corrupt_metadata)"
        ),
        "{ran:?}"
    );

    let downloaded = shell.run(&[&"download", &"f", &"--json"]).await.json(0);
    assert_eq!(downloaded["verified"], json!(false));
    assert_eq!(std::fs::read(shell.path("foreign.tar")).unwrap(), b"content");
    shell.run(&[&"download", &"l", &"--json"]).await.error(3, "not_found");
    assert_eq!(shell.run(&[&"delete", &"l", &"--yes"]).await.code, 0);
    assert_eq!(server.get(&format!("{folder}lost.metadata.json")).await, None);
}

#[tokio::test]
async fn folder_setting_may_be_empty() {
    let server = TestServer::start().await;
    let shell = Shell::of(&server);
    let none = shell.set("FOLDER", "");
    let (file, id, ..) = REAL[0];
    none.run(&[&"upload", &real_backup(file), &"--json"]).await.json(0);
    let start = format!("{}/", server.prefix).trim_start_matches('/').to_owned();
    let keys: Vec<_> = server.objects().await.into_iter().map(|(key, _)| key).collect();
    assert_eq!(keys, [format!("{start}{file}.metadata.json"), format!("{start}{file}.tar")]);
    let usual = shell.run(&[&"list", &"--json"]).await.json(0);
    assert_eq!(usual["backups"], json!([]));
    // A flag takes precedence over the environment.
    let flag = shell.set("FOLDER", "elsewhere").run(&[&"list", &"--folder", &"", &"--json"]).await;
    assert_eq!(flag.json(0)["backups"][0]["id"], id);
}

#[tokio::test]
async fn cleanup_removes_interrupted_uploads() {
    let server = TestServer::start().await;
    let shell = Shell::of(&server);
    let folder = format!("{}/backups/", server.prefix).trim_start_matches('/').to_owned();
    server.abandon_upload(&format!("{folder}a.tar"), true).await;
    server.abandon_upload(&format!("{folder}b.tar"), false).await;

    let young = shell.run(&[&"cleanup"]).await;
    assert_eq!((young.code, young.stdout.as_str()), (0, ""), "{young:?}");
    assert!(young.stderr.contains("There are no incomplete uploads."), "{young:?}");
    let found = shell.run(&[&"cleanup", &"--older-than", &"0s", &"--dry-run"]).await;
    if !server.lists_uploads() {
        assert!(found.stderr.contains("There are no incomplete uploads."), "{found:?}");
        return;
    }
    let rows: Vec<_> = found.stdout.lines().collect();
    let begin = |row: &str, name: &str, verb: &str| {
        row.starts_with(&format!("{verb} the incomplete upload of {folder}{name}.tar, idle for "))
    };
    assert_eq!((found.code, rows.len()), (0, 2), "{found:?}");
    assert!(begin(rows[0], "a", "Would remove") && begin(rows[1], "b", "Would remove"), "{rows:?}");
    assert_eq!(server.open_uploads().await.len(), 2);

    let cleaned = shell.run(&[&"cleanup", &"--older-than", &"0s", &"--json"]).await.json(0);
    assert_eq!(cleaned["items"][1]["key"], format!("{folder}b.tar"));
    assert_eq!(cleaned["items"][1]["status"], "removed");
    assert_eq!(server.open_uploads().await, []);
    shell
        .run(&[&"cleanup", &"--older-than", &"2years", &"--json"])
        .await
        .error(64, "invalid_params");
}
