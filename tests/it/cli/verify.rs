//! `verify` and `repair`, and downloads of damaged backups.

use serde_json::{Value, json};

use super::{REAL, Shell, real_backup};
use crate::support::TestServer;

fn key(server: &TestServer, file: &str) -> String {
    format!("{}/backups/{file}", server.prefix).trim_start_matches('/').to_owned()
}

fn lines(stdout: &str) -> Vec<Value> {
    stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test]
async fn damaged_backup_is_reported_and_never_downloaded() {
    let server = TestServer::start().await;
    let shell = Shell::of(&server);
    for name in ["good", "rotten", "short", "lone"] {
        shell.write("file", format!("the content of {name}"));
        let arguments: [&dyn AsRef<std::ffi::OsStr>; 6] =
            [&"upload", &"file", &"--name", &name, &"--id", &name];
        assert_eq!(shell.run(&arguments).await.code, 0);
    }
    std::fs::remove_file(shell.path("file")).unwrap();
    let ran = shell.run(&[&"verify", &"--all"]).await;
    assert_eq!((ran.code, ran.stdout.lines().count(), ran.stderr.as_str()), (0, 4, ""), "{ran:?}");
    assert!(ran.stdout.contains("good (ID good): ok, 19 B match the checksums"), "{ran:?}");
    let verified = shell.run(&[&"verify", &"good", &"--json"]).await.json(0);
    let whole = json!({"backup_id": "good", "level": "full", "status": "ok", "length": 19});
    assert_eq!(verified, whole);

    server.put(&key(&server, "rotten.tar"), "the content of rottem").await;
    server.put(&key(&server, "short.tar"), "the content of shor").await;
    server.delete(&key(&server, "lone.tar")).await;
    server.put(&key(&server, "torn.metadata.json"), "{no json").await;
    let ran = shell.run(&[&"verify", &"--all", &"--json"]).await;
    assert_eq!(ran.code, 8, "{ran:?}");
    let mut found: Vec<_> = lines(&ran.stdout)
        .iter()
        .map(|line| {
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            let error = line.get("error").unwrap_or(line);
            (text(&line["backup_id"]), text(&line["status"]), text(&error["code"]))
        })
        .collect();
    found.sort();
    let expected = [
        ("", "", "corrupt_metadata"),
        ("good", "ok", ""),
        ("lone", "damaged", "not_found"),
        ("rotten", "damaged", "integrity_mismatch"),
        ("short", "damaged", "length_mismatch"),
    ];
    let owned = |(id, status, code): (&str, &str, &str)| {
        (id.to_owned(), status.to_owned(), code.to_owned())
    };
    assert_eq!(found, expected.map(owned));
    let ran = shell.run(&[&"verify", &"--all", &"--quick"]).await;
    assert_eq!(ran.code, 8, "{ran:?}");
    for said in
        ["rotten (ID rotten): unverified", "short (ID short): damaged", "torn.metadata.json"]
    {
        assert!(ran.stdout.contains(said), "{said}: {ran:?}");
    }
    assert_eq!(shell.run(&[&"verify", &"good"]).await.code, 0);
    // A name works too, and every backup of that name is checked.
    let ran = shell.run(&[&"verify", &"good", &"rotten", &"lone", &"--json"]).await;
    assert_eq!((ran.code, ran.stdout.lines().count()), (8, 3), "{ran:?}");
    shell.run(&[&"verify", &"nothing", &"--json"]).await.error(3, "not_found");
    assert_eq!(shell.run(&[&"verify"]).await.code, 64);
    assert_eq!(shell.run(&[&"verify", &"good", &"--all"]).await.code, 64);

    for (id, exit, code) in [
        ("rotten", 8, "integrity_mismatch"),
        ("short", 8, "length_mismatch"),
        ("lone", 3, "not_found"),
    ] {
        shell.run(&[&"download", &id, &"--json"]).await.error(exit, code);
        let ran = shell.run(&[&"download", &id, &"-o", &"-"]).await;
        assert_eq!((ran.code, ran.stdout.as_str()), (exit, ""), "{ran:?}");
        assert_eq!(shell.files(), Vec::<String>::new());
    }
    // The existing file stays.
    shell.write("kept.tar", "from before");
    let forced = shell.run(&[&"download", &"rotten", &"-o", &"kept.tar", &"--force"]).await;
    assert_eq!((forced.code, shell.files()), (8, vec!["kept.tar".to_owned()]), "{forced:?}");
    assert_eq!(std::fs::read(shell.path("kept.tar")).unwrap(), b"from before");
}

#[tokio::test]
async fn download_of_altered_archive_is_refused() {
    let server = TestServer::start().await;
    let shell = Shell::of(&server);
    let content: Vec<u8> = (0..300_000_u32).map(|number| (number % 251) as u8).collect();
    let input = shell.write("file", &content);
    let arguments: [&dyn AsRef<std::ffi::OsStr>; 6] =
        [&"upload", &"file", &"--name", &"a", &"--id", &"a"];
    assert_eq!(shell.run(&arguments).await.code, 0);
    std::fs::remove_file(input).unwrap();
    let flipped = |at: usize| {
        let mut content = content.clone();
        content[at] ^= 1;
        content
    };
    let whole = content.len();
    for (what, altered, code) in [
        ("a bit of the first byte", flipped(0), "integrity_mismatch"),
        ("a bit in the middle", flipped(whole / 2), "integrity_mismatch"),
        ("a bit of the last byte", flipped(whole - 1), "integrity_mismatch"),
        ("one byte more", [&content[..], b"x"].concat(), "length_mismatch"),
        ("one byte less", content[..whole - 1].to_vec(), "length_mismatch"),
    ] {
        server.put(&key(&server, "a.tar"), altered).await;
        shell.run(&[&"download", &"a", &"--json"]).await.error(8, code);
        let ran = shell.run(&[&"download", &"a", &"-o", &"-"]).await;
        assert_eq!((ran.code, ran.stdout.as_str()), (8, ""), "{what}");
        let verified = shell.run(&[&"verify", &"a", &"--json"]).await.json(8);
        assert_eq!(verified["error"]["code"], code, "{what}");
        assert_eq!(shell.files(), Vec::<String>::new(), "{what}");
    }
    server.put(&key(&server, "a.tar"), content.clone()).await;
    assert_eq!(shell.run(&[&"download", &"a", &"-o", &"back"]).await.code, 0);
    assert!(std::fs::read(shell.path("back")).unwrap() == content);
}

#[tokio::test]
async fn repair_rebuilds_lost_metadata_unchanged() {
    let server = TestServer::start().await;
    let shell = Shell::of(&server);
    let (file, id, title, _) = REAL[0];
    shell.run(&[&"upload", &real_backup(file), &"--json"]).await.json(0);
    let mut before = shell.run(&[&"info", &id, &"--json"]).await.json(0);
    server.delete(&key(&server, &format!("{file}.metadata.json"))).await;
    server.put(&key(&server, "strange.tar"), "no tar").await;

    let ran = shell.run(&[&"repair", &"--dry-run"]).await;
    let archive = key(&server, &format!("{file}.tar"));
    let strange = key(&server, "strange.tar");
    let left = format!("Left {strange} alone: it does not say which backup it is\n");
    let what = format!("repair {title} (20.00 KiB, ID {id}) from {archive}.\n");
    assert_eq!((ran.code, ran.stdout), (0, format!("Would {what}{left}")));
    assert_eq!(server.objects().await.len(), 2);
    let repaired = shell.run(&[&"repair", &"--json"]).await.json(0);
    assert_eq!(repaired["archives"][0]["status"], "repaired");
    assert_eq!(repaired["archives"][1]["status"], "unknown");
    let after = shell.run(&[&"info", &id, &"--json"]).await.json(0);
    before["backup"]["has_checksums"] = json!(false);
    assert_eq!(after, before);
    assert_eq!(shell.run(&[&"repair"]).await.stdout, left);
    server.delete(&strange).await;
    let ran = shell.run(&[&"repair"]).await;
    assert_eq!(
        (ran.stdout.as_str(), ran.stderr.as_str()),
        ("", "Every archive has its metadata.\n")
    );
}
