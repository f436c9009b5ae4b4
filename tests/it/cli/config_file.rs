//! The config file: where it is looked for, who reads it, and what an error in it says.

use std::os::unix::fs::PermissionsExt;

use super::storages::{CANARY, Storages, secret_of, tables};
use super::{CommandResult, Shell};
use crate::support::TestServer;

/// A user with a home directory and no variables of the agent.
fn at_home() -> Storages {
    let mut storages = Storages::with("this is no config file");
    storages.unset("S3_BACKUP_AGENT_CONFIG");
    let home = storages.shell.path("home");
    std::fs::create_dir(&home).unwrap();
    storages.set("HOME", home.to_str().unwrap());
    storages
}

/// Writes the config file of a user below this directory.
fn write_in(shell: &Shell, folder: &str, name: &str, server: &TestServer) -> String {
    let folder = shell.path(folder).join("s3-backup-agent");
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join("config.toml");
    std::fs::write(&path, tables(&[(name, server)])).unwrap();
    std::fs::write(folder.join(format!("{name}.key")), secret_of(server)).unwrap();
    path.display().to_string()
}

fn assert_refused(ran: &CommandResult, code: i32, expected: &str) {
    assert_eq!((ran.code, ran.stdout.as_str()), (code, ""), "{ran:?}");
    assert!(ran.stderr.contains(expected), "{expected}: {ran:?}");
}

#[tokio::test]
async fn config_file_of_the_home_directory_is_used() {
    let server = TestServer::embedded().await;
    let mut storages = at_home();
    write_in(&storages.shell, "home/.config", "nas", &server);
    assert_eq!(storages.run("list -t nas").await.code, 0);
    storages.set("XDG_CONFIG_HOME", "");
    assert_eq!(storages.run("list -t nas").await.code, 0);
    // Only the first file counts, also where it lacks the target.
    write_in(&storages.shell, "xdg", "cloud", &server);
    storages.set("XDG_CONFIG_HOME", storages.shell.path("xdg").to_str().unwrap());
    assert_eq!(storages.run("list").await.code, 0);
    assert_refused(&storages.run("list -t nas").await, 5, "the only target is cloud");
}

#[tokio::test]
async fn missing_config_file_is_named_with_the_places_looked_at() {
    let mut storages = at_home();
    let home = storages.shell.path("home").display().to_string();
    let looked =
        format!("looked for {home}/.config/s3-backup-agent/config.toml and /etc/s3-backup-agent/");
    for line in ["list -t nas", "list --all-targets"] {
        assert_refused(&storages.run(line).await, 5, &looked);
    }
    // Where it was not looked for, no place is named.
    let none = storages.run("list -t nas --config none").await;
    assert_refused(&none, 5, "there is no config file, because --config");
    assert!(!none.stderr.contains("looked for"), "{none:?}");
    storages.set("S3_BACKUP_AGENT_CONFIG", "none");
    assert_refused(
        &storages.run("list -t nas").await,
        5,
        "there is no config file, because --config",
    );
    let ran = storages.run("list").await;
    assert_refused(&ran, 5, "settings are missing");
    assert_refused(&storages.run("list --config gone.toml").await, 5, "gone.toml");
}

#[tokio::test]
async fn variable_without_a_value_counts_as_not_set() {
    let server = TestServer::embedded().await;
    let mut storages = at_home();
    write_in(&storages.shell, "home/.config", "nas", &server);
    for name in ["CONFIG", "TARGET", "ENDPOINT", "BUCKET", "ACCESS_KEY_ID"] {
        storages.set(&format!("S3_BACKUP_AGENT_{name}"), "");
    }
    assert_eq!(storages.run("list").await.code, 0);
    assert_eq!(storages.run("info x").await.code, 3);
    assert_eq!(storages.run("help list").await.code, 0);
    storages.set("S3_BACKUP_AGENT_TARGET", "nas,");
    assert_eq!(storages.run("list").await.code, 0);
    // A flag without a value is a mistake of a script, and not a choice.
    let words: [&dyn AsRef<std::ffi::OsStr>; 4] = [&"delete", &"x", &"--yes", &"--target="];
    assert_refused(&storages.shell.run(&words).await, 5, "there is no target \"\"");
    let words: [&dyn AsRef<std::ffi::OsStr>; 2] = [&"list", &"--config="];
    assert_refused(&storages.shell.run(&words).await, 5, "cannot read the config file");
}

#[tokio::test]
async fn own_flags_use_no_config_file() {
    let server = TestServer::embedded().await;
    let storages = Storages::with("this is no config file");
    storages.shell.write("key", secret_of(&server));
    let config = server.config();
    let text = |name: &str| config[name].as_str().unwrap().to_owned();
    let line = format!(
        "list --endpoint {} --bucket {} --access-key-id {} --secret-access-key-file key",
        text("endpoint"),
        text("bucket"),
        text("access_key_id"),
    );
    assert_eq!(storages.run(&line).await.code, 0);
    // One of them is enough to leave the file out.
    let ran = storages.run("list --bucket other").await;
    assert_refused(&ran, 5, "settings are missing: access key ID, secret access key");
}

#[tokio::test]
async fn command_without_config_file_refuses_only_the_flag() {
    let storages = Storages::with("this is no config file");
    for line in
        ["serve", "serve --protocol", "serve --schema", "man", "completions bash", "help list"]
    {
        let flag = storages.run(&format!("{line} --config config.toml")).await;
        let command = line.split(' ').next().unwrap();
        assert_refused(&flag, 64, &format!("{command} reads no config file"));
        let variable = storages.run(line).await;
        assert_eq!(variable.code, 0, "{line}: {variable:?}");
    }
}

#[tokio::test]
async fn config_file_error_has_a_line_and_shows_no_value() {
    let storages = Storages::with("");
    let path = storages.shell.path("config.toml").display().to_string();
    let secret = format!("secret_access_key = \"{CANARY}\"\n");
    for (text, place, expected) in [
        ("[targets.nas]\nSECRETbucket = backups\n", "3:10", ""),
        ("[targets.nas]\nSECRETbukket = \"b\"\n", "3:1", "write \"bucket\""),
        ("[targets.nas]\nSECRETbucket = \"${NOT_SET}\"\n", "3:10", "write ${NOT_SET:-"),
        ("[targets.nas]\nSECRETbucket = \"b\"\nbucket = \"c\"\n", "4:1", ""),
        ("[targets.nas]\nSECRETpart_size = \"much\"\n", "3:13", "write a size"),
        ("[targets.nas]\nSECRETpart_size = \"1MiB\"\nbucket = \"b\"\n", "3:13", ""),
        ("[targets.nas]\nSECRETmemory = \"96MiB\"\n", "3:1", "above the first table"),
        ("memory = \"1MiB\"\n[targets.nas]\nSECRET", "1:10", ""),
        ("default_target = \"cloud\"\n[targets.nas]\nSECRET", "1:18", "the only target is nas"),
        ("[targets.nas]\nSECRET[targets.nas]\n", "3:10", ""),
        ("[targets.a]\n[targets.Nas]\nSECRET", "2:10", "use a-z"),
        ("[targets.nas]\nca_file = \"none.pem\"\nSECRET", "2:11", ""),
    ] {
        let whole = "endpoint = \"http://127.0.0.1:1\"\naccess_key_id = \"AK\"\n";
        storages.shell.write("config.toml", text.replace("SECRET", &secret) + whole);
        for line in ["list", "list -t nas", "list -t nas -vv", "list -t nas --memory 40MiB"] {
            let ran = storages.run(line).await;
            assert_refused(&ran, 5, &format!("error: {path}:{place}: "));
            assert!(ran.stderr.contains(expected), "{expected}: {ran:?}");
            assert!(line.ends_with("-vv") || ran.stderr.lines().count() <= 2, "{ran:?}");
        }
        let error = storages.run("list --json -t nas").await.error(5, "invalid_config");
        let details = &error["data"]["details"];
        let found = format!("{}:{}", details["line"], details["column"]);
        assert_eq!((details["file"].as_str(), found.as_str()), (Some(path.as_str()), place));
    }
}

#[tokio::test]
async fn config_file_with_windows_line_ends_is_read() {
    let server = TestServer::embedded().await;
    let storages = Storages::of(&[("nas", &server)]);
    let text = std::fs::read_to_string(storages.shell.path("config.toml")).unwrap();
    storages.shell.write("config.toml", format!("\u{feff}{}", text.replace('\n', "\r\n")));
    assert_eq!(storages.run("list -t nas").await.code, 0);
    storages.append("bukket = \"x\"");
    let place = format!("config.toml:{}:1: ", text.lines().count() + 1);
    assert_refused(&storages.run("list -t nas").await, 5, &place);
}

#[tokio::test]
async fn config_file_that_is_no_text_is_refused() {
    let storages = Storages::with("");
    let large = format!("# {}\n", "x".repeat(1 << 20));
    for (content, expected) in
        [(b"[targets.\xff]".to_vec(), "not text in UTF-8"), (large.into_bytes(), "config.toml")]
    {
        storages.shell.write("config.toml", content);
        assert_refused(&storages.run("list -t nas").await, 5, expected);
    }
    assert_refused(&storages.run("list --config .").await, 5, "not a regular file");
    let unreadable = storages.shell.write("config.toml", "");
    std::fs::set_permissions(&unreadable, PermissionsExt::from_mode(0o000)).unwrap();
    let ran = storages.shell.run_as_nobody(&[&"list"]).await;
    assert_refused(&ran, 5, "Permission denied");
}
