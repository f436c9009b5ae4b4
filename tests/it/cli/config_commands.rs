//! `config check`, `show`, `add` and `secret` in scripts.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use serde_json::json;

use super::Shell;
use super::storages::{CANARY, Storages, secret_of, tables};
use crate::support::TestServer;

/// A user without a config file, whose home is a folder that is not there yet.
pub(super) fn user() -> Storages {
    let mut storages = Storages::with("");
    std::fs::remove_file(storages.shell.path("config.toml")).unwrap();
    storages.shell.env.retain(|(name, _)| name != "S3_BACKUP_AGENT_CONFIG");
    let home = storages.shell.path("home").display().to_string();
    storages.set("HOME", &home);
    storages
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

/// Only the owner can use these files and their folders.
pub(super) fn assert_private(shell: &Shell, names: &[&str]) {
    for name in names {
        let path = shell.path(name);
        assert_eq!(mode(&path), 0o600, "{name}");
        assert_eq!(mode(path.parent().unwrap()), 0o700, "{name}");
    }
}

const CONFIG: &str = "home/.config/s3-backup-agent/config.toml";

/// The text of a file.
fn text(storages: &Storages, name: &str) -> String {
    std::fs::read_to_string(storages.shell.path(name)).unwrap()
}

/// The command line that adds a target on this server.
fn add(name: &str, server: &TestServer) -> String {
    let config = server.config();
    let of = |name: &str| config[name].as_str().unwrap().to_owned();
    format!(
        "config add {name} {}/{}/{name} --access-key-id {} --secret-access-key-file key",
        of("endpoint"),
        server.bucket,
        of("access_key_id")
    )
}

#[tokio::test]
async fn add_appends_a_table_and_changes_no_line() {
    let server = TestServer::embedded().await;
    let mut storages = user();
    let key = storages.shell.write("key", secret_of(&server)).display().to_string();
    let ran = storages.run(&add("nas", &server)).await;
    let path = storages.shell.path(CONFIG).display().to_string();
    let expected = format!("Added nas to {path}.\n  secret access key  {key}\n");
    assert_eq!((ran.code, ran.stdout.as_str()), (0, expected.as_str()), "{ran:?}");
    assert_eq!(ran.stderr, "Try it: s3-backup-agent list -t nas\n");
    assert_private(&storages.shell, &[CONFIG]);
    let first = text(&storages, CONFIG);
    assert!(
        first.starts_with("[targets.nas]\nendpoint = ") && first.contains("prefix = \"nas\"\n")
    );
    assert!(first.ends_with(&format!("secret_access_key = {{ file = \"{key}\" }}\n")), "{first}");

    // What is there stays, whatever it looks like; so do the permissions.
    let before = format!("# mine\r\n  {} # no line end", first.replace('\n', "\r\n"));
    std::fs::write(&path, &before).unwrap();
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o640)).unwrap();
    let ran = storages.run(&add("cloud", &server)).await;
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(ran.stderr.contains("nas is no longer the only target"), "{ran:?}");
    let after = text(&storages, CONFIG);
    let table = first.replace("nas", "cloud");
    assert!(after.starts_with(&format!("{before}\n\n[targets.cloud]\nendpoint = ")), "{after}");
    assert!(after.contains(table.lines().nth(2).unwrap()), "{after}");
    assert_eq!(mode(Path::new(&path)), 0o640);
    assert_eq!(storages.run("validate --all-targets").await.code, 0);
    // Not again for the third one.
    let ran = storages.run(&add("third", &server)).await;
    assert!(ran.code == 0 && !ran.stderr.contains("no longer"), "{ran:?}");

    // Another file, beside which nothing is left.
    storages.set("S3_BACKUP_AGENT_CONFIG", "other.toml");
    assert_eq!(storages.run(&add("nas", &server)).await.code, 0);
    assert_eq!(mode(&storages.shell.path("other.toml")), 0o600);
    assert_eq!(storages.shell.files(), ["home", "key", "other.toml", "state"]);
    assert_eq!(storages.run("list -t nas --config other.toml").await.code, 0);
}

#[tokio::test]
async fn add_with_flags_writes_every_setting() {
    let storages = user();
    storages.shell.write("key", CANARY);
    let line = "config add nas --endpoint http://127.0.0.1:1/storage/v1/s3 --bucket backups --prefix ha \
                --region here-1 --addressing-style path --access-key-id AK --description two \
                --secret-access-key-file key --no-validate";
    let ran = storages.run(line).await;
    assert_eq!(ran.code, 0, "{ran:?}");
    let key = storages.shell.path("key").display().to_string();
    let expected = format!(
        "[targets.nas]\ndescription = \"two\"\nendpoint = \"http://127.0.0.1:1/storage/v1/s3\"\n\
         region = \"here-1\"\nbucket = \"backups\"\nprefix = \"ha\"\naddressing_style = \"path\"\n\
         access_key_id = \"AK\"\nsecret_access_key = {{ file = \"{key}\" }}\n"
    );
    assert_eq!(text(&storages, CONFIG), expected);
}

#[tokio::test]
async fn add_refuses_what_it_cannot_do_and_writes_nothing() {
    let server = TestServer::embedded().await;
    let storages = Storages::of(&[("nas", &server)]);
    storages.shell.write("key", secret_of(&server));
    storages.shell.write("wrong", CANARY);
    let (config, files) = (text(&storages, "config.toml"), storages.shell.files());
    let good = add("two", &server);
    for (line, code, expected) in [
        (add("nas", &server), 64, "there is a target nas in "),
        (add("Two", &server), 64, "use a-z, 0-9, - and _"),
        ("config add two".to_owned(), 64, "give URL, --access-key-id, --secret-access-key-file"),
        ("config add two http://x --access-key-id AK".to_owned(), 64, "give --bucket, --secret-"),
        ("config add two --bucket b".to_owned(), 64, "give --endpoint, --access-key-id, "),
        (format!("{good} --endpoint http://x"), 64, "cannot be used with"),
        (good.replace("file key", "file none"), 5, "check --secret-access-key-file"),
        (good.replace("http://", "ftp://"), 5, "the scheme of the endpoint is not supported"),
        ("config add two https://backups.s3.eu-west-1.amazonaws.com --bucket x --access-key-id AK --secret-access-key-file key".to_owned(), 5, "the endpoint names the bucket"),
        (format!("{good} --no-validate").replace("/two ", " --prefix ../x "), 5, "prefix"),
        (good.replace("--access-key-id ", "--access-key-id wrong"), 7, "Nothing was written."),
        (good.replace("file key", "file wrong"), 7, "Nothing was written."),
        (good.replace(&server.bucket, "no-such-bucket"), 3, "Nothing was written."),
        (good.replace("http://127.0.0.1:", "http://127.0.0.1:1/"), 6, "Nothing was written."),
        (format!("{good} --config none"), 5, "there is no config file"),
        (format!("{good} --config key/config.toml"), 5, "Not a directory"),
    ] {
        let ran = storages.run(&line).await;
        assert_eq!(ran.code, code, "{line}: {ran:?}");
        assert!(ran.stderr.contains(expected), "{line}: {ran:?}");
        assert_eq!(ran.stdout.contains("✗ "), expected.starts_with("Nothing"), "{line}: {ran:?}");
        assert_eq!(text(&storages, "config.toml"), config, "{line}");
        assert_eq!(storages.shell.files(), files, "{line}");
    }
    // A file in which a table at the end is no target.
    let inline = "targets = { nas = { bucket = \"b\" } }\n";
    for broken in [inline, "[targets.nas\n"] {
        storages.shell.write("config.toml", broken);
        let ran = storages.run(&good).await;
        assert!(ran.code == 5 && ran.stderr.contains("config.toml:"), "{ran:?}");
        assert_eq!(text(&storages, "config.toml"), broken);
        assert_eq!(storages.shell.files(), files);
    }
}

#[tokio::test]
async fn secret_replaces_the_file_when_the_new_keys_work() {
    let server = TestServer::embedded().await;
    let storages = Storages::of(&[("nas", &server)]);
    let (config, secret) = (text(&storages, "config.toml"), secret_of(&server));
    let key = storages.shell.write("nas.key", "an-old-secret");
    std::fs::set_permissions(&key, PermissionsExt::from_mode(0o640)).unwrap();
    storages.shell.write("new", &secret);
    storages.shell.write("wrong", CANARY);
    let files = storages.shell.files();
    for (line, code, expected) in [
        ("config secret nas", 64, "there is no terminal"),
        ("config secret nas --secret-access-key-file wrong", 7, "Nothing was changed."),
        ("config secret nas --secret-access-key-file none", 5, "check --secret-access-key-file"),
        ("config secret nas --access-key-id x --secret-access-key-file new", 7, "Nothing was"),
        ("config secret other --secret-access-key-file new", 5, "there is no target \"other\""),
        // Standard input is empty.
        ("config secret nas --secret-access-key-file -", 5, "the secret access key is missing"),
    ] {
        let ran = storages.run(line).await;
        assert!(ran.code == code && ran.stderr.contains(expected), "{line}: {ran:?}");
        assert_eq!(text(&storages, "nas.key"), "an-old-secret", "{line}");
    }
    let ran = storages.run("config secret nas --secret-access-key-file new").await;
    let expected = format!(
        "Replaced the secret access key of nas in {}.\nThe access key ID is the same as before.\n",
        key.display()
    );
    assert_eq!((ran.code, ran.stdout, ran.stderr.as_str()), (0, expected, ""));
    assert_eq!(text(&storages, "nas.key"), format!("{secret}\n"));
    assert_eq!(mode(&key), 0o640);
    // From standard input, with a line break of Windows.
    let words: Vec<_> =
        "config secret nas --no-validate --secret-access-key-file -".split(' ').collect();
    let words: Vec<_> = words.iter().map(|word| word as &dyn AsRef<std::ffi::OsStr>).collect();
    let ran = storages.shell.run_with_input(&words, b"piped-secret\r\n").await;
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(text(&storages, "nas.key"), "piped-secret\n");
    assert_eq!((text(&storages, "config.toml"), storages.shell.files()), (config, files));
}

#[tokio::test]
async fn secret_says_what_is_left_to_change() {
    let server = TestServer::embedded().await;
    let storages = Storages::of(&[("nas", &server)]);
    let table = tables(&[("nas", &server)]);
    let both = format!("{table}\n{}", table.replace("targets.nas", "targets.cloud"));
    storages.shell.write("config.toml", &both);
    storages.shell.write("new", CANARY);
    let line =
        "config secret cloud --access-key-id NEW\"ID --secret-access-key-file new --no-validate -q";
    let ran = storages.run(line).await;
    assert_eq!(ran.code, 0, "{ran:?}");
    let at = both.lines().enumerate().filter(|(_, line)| line.starts_with("access_key_id"));
    let at = at.last().unwrap().0 + 1;
    let path = storages.shell.path("config.toml").display().to_string();
    let expected = format!("\n  {path}:{at}\n  access_key_id = \"NEW\\\"ID\"\n");
    assert!(ran.stdout.ends_with(&expected), "{ran:?}");
    assert!(ran.stdout.contains("The same file is used by nas."), "{ran:?}");
    assert_eq!(text(&storages, "config.toml"), both);
}

#[tokio::test]
async fn secret_that_is_elsewhere_is_not_changed() {
    let mut storages = Storages::with("");
    storages.set("NAS_KEY", CANARY);
    storages.shell.write("new", CANARY);
    for (source, expected) in [
        (format!("\"{CANARY}\""), "comes from the config file"),
        ("\"${NAS_KEY}\"".to_owned(), "comes from variables"),
        ("{ env = \"NAS_KEY\" }".to_owned(), "comes from env NAS_KEY"),
        ("{ credential = \"s3\" }".to_owned(), "comes from credential s3"),
        (format!("{{ command = [\"pass\", \"{CANARY}\"] }}"), "comes from command pass"),
    ] {
        let text = format!(
            "[targets.nas]\nendpoint = \"http://127.0.0.1:1\"\nbucket = \"b\"\naccess_key_id = \"AK\"\n\
             secret_access_key = {source}\n"
        );
        storages.shell.write("config.toml", &text);
        let files = storages.shell.files();
        let ran = storages.run("config secret nas --secret-access-key-file new").await;
        assert_eq!((ran.code, ran.stdout.as_str()), (5, ""), "{ran:?}");
        assert!(ran.stderr.contains("config.toml:5:21: the secret access key of nas "), "{ran:?}");
        assert!(ran.stderr.contains(expected), "{ran:?}");
        assert!(ran.stderr.contains("hint: change it there"), "{ran:?}");
        assert_eq!(self::text(&storages, "config.toml"), text);
        assert_eq!(storages.shell.files(), files);
    }
}

/// A file with everything that can be wrong, and something that is right.
fn mixed() -> Storages {
    let place = "endpoint = \"http://nas.lan:9000\"\nbucket = \"b\"\naccess_key_id = \"AK\"\n";
    let text = format!(
        "[targets.good]\n{place}prefix = \"a\"\nfolder = \"b/c\"\nsecret_access_key = {{ file = \"key\" }}\n\
         [targets.same]\n{place}prefix = \"/a/b/\"\nfolder = \"c\"\nsecret_access_key = {{ env = \"KEY\" }}\n\
         [targets.key]\nbukket = \"{CANARY}\"\n\
         [targets.value]\n{place}part_size = \"1MiB\"\nsecret_access_key = {{ file = \"key\" }}\n\
         [targets.prefix]\n{place}prefix = \"../x\"\nsecret_access_key = {{ file = \"key\" }}\n\
         [targets.none]\n{place}\
         [targets.secrets]\n{place}secret_access_key = {{ file = \"none\" }}\n\
         session_token = {{ command = [\"sh\", \"-c\", \"echo {CANARY}; exit 3\"] }}\n\
         [targets.blank]\n{place}secret_access_key = {{ command = [\"echo\", \"{CANARY} x\"] }}\n"
    );
    let mut storages = Storages::with(&text);
    storages.shell.write("key", format!("{CANARY}\n"));
    storages.set("KEY", CANARY);
    storages
}

#[tokio::test]
async fn check_names_every_error() {
    let storages = mixed();
    let path = storages.shell.path("config.toml").display().to_string();
    let ran = storages.run("config check").await;
    assert_eq!(ran.code, 5, "{ran:?}");
    let place = "(http://nas.lan:9000)";
    let expected = format!(
        "{path}\n  ✓ good     bucket \"b\" under \"a\" {place}\n  ✓ same     bucket \"b\" under \"a/b\" {place}\n  \
         ✗ key\n  ✗ value\n  ✗ prefix\n  ✗ none\n  ✓ secrets  bucket \"b\" {place}\n  \
         ✓ blank    bucket \"b\" {place}\n"
    );
    assert_eq!(ran.stdout, expected);
    let common = [
        ": \"bukket\" is no setting of targets.key\nhint: write \"bucket\"",
        "error: value: ",
        "(targets.value.part_size)",
        "(targets.prefix.prefix)",
        "the secret access key is missing (targets.none.secret_access_key)",
        "good and same are the same place.",
        "There is no default_target",
    ];
    for expected in common {
        assert!(ran.stderr.contains(expected), "{expected}: {ran:?}");
    }
    assert_eq!(ran.stderr.matches("error: ").count(), 4, "{ran:?}");
    let ran = storages.run("config check --secrets").await;
    assert_eq!(ran.code, 5, "{ran:?}");
    for expected in common.into_iter().chain([
        "cannot read the file with the secret access key",
        "the command sh failed (exit status: 3)",
        "the secret access key contains a blank",
    ]) {
        assert!(ran.stderr.contains(expected), "{expected}: {ran:?}");
    }
    assert_eq!(ran.stderr.matches("error: ").count(), 7, "{ran:?}");
    let key = storages.shell.path("key").display().to_string();
    for expected in [
        format!("under \"a\" {place}\n      secret_access_key comes from file {key}\n"),
        format!("under \"a/b\" {place}\n      secret_access_key comes from env KEY\n"),
        "  ✗ secrets\n  ✗ blank\n      secret_access_key comes from command echo\n".to_owned(),
    ] {
        assert!(ran.stdout.contains(&expected), "{expected}: {ran:?}");
    }
    // Without anything wrong.
    storages.shell.write("config.toml", "");
    let ran = storages.run("config check").await;
    assert_eq!((ran.code, ran.stdout), (0, format!("{path}\n")));
    assert!(ran.stderr.contains("There are no targets"), "{}", ran.stderr);
}

#[tokio::test]
async fn missing_config_file_is_named_with_the_places_looked_at() {
    let storages = user();
    let places = format!(
        "there is no config file (looked for {} and /etc/s3-backup-agent/config.toml)",
        storages.shell.path(CONFIG).display()
    );
    for line in ["config check", "config show", "config secret nas"] {
        let ran = storages.run(line).await;
        assert_eq!((ran.code, ran.stdout.as_str()), (5, ""), "{ran:?}");
        assert!(ran.stderr.contains(&places) && ran.stderr.contains("config add"), "{ran:?}");
    }
    let error = storages.run("config show --json").await.error(5, "invalid_config");
    assert!(error["message"].as_str().unwrap().contains(&places), "{error}");
    assert_eq!(storages.run("config show --json --config none").await.code, 5);
}

#[tokio::test]
async fn show_prints_what_is_in_force_and_no_secret() {
    let text = format!(
        "host = \"cellar\"\nmemory = \"64MiB\"\n[targets.nas]\ndescription = \"${{WHERE}}\"\n\
         endpoint = \"http://nas.lan:9000/b/ha\"\naccess_key_id = \"AK\"\nsecret_access_key = \"{CANARY}\"\n\
         session_token = {{ command = [\"pass\", \"{CANARY}\"] }}\nverify_tls = false\npart_size = \"6MiB\"\n\
         [targets.swapped]\nbucket = \"backups\"\naccess_key_id = \"wJalrXUtnFEMIxK7MDENGxbPxRfiCYEXAMPLEKEY\"\n\
         secret_access_key = \"${{KEY}}\"\n[targets.wrong]\nbucket = 7\n"
    );
    let mut storages = Storages::with(&text);
    storages.set("WHERE", "the \"cellar\"");
    storages.set("KEY", CANARY);
    let path = storages.shell.path("config.toml").display().to_string();
    let mut shown = storages.run("config show --json").await.json(5);
    let wrong = shown["targets"].as_array_mut().unwrap().pop().unwrap();
    let expected = json!({
        "file": path, "host": "cellar", "default_target": null, "memory": 64 << 20,
        "targets": [
            {
                "target": "nas", "description": "the \"cellar\"", "endpoint": "http://nas.lan:9000",
                "region": "us-east-1", "bucket": "b", "prefix": "ha", "folder": "backups",
                "access_key_id": "AK", "secret_access_key": {"from": "inline"},
                "session_token": {"from": "command", "what": "pass"}, "verify_tls": false,
                "part_size": 6 << 20,
            },
            {
                "target": "swapped", "endpoint": "https://s3.us-east-1.amazonaws.com",
                "region": "us-east-1", "bucket": "backups", "folder": "backups",
                "access_key_id": "[redacted]", "secret_access_key": {"from": "variables"},
            },
        ],
    });
    assert_eq!(shown, expected);
    assert_eq!(
        (&wrong["target"], &wrong["error"]["data"]["field"]),
        (&json!("wrong"), &json!("targets.wrong.bucket"))
    );
    let ran = storages.run("config show").await;
    assert_eq!((ran.code, ran.stderr.as_str()), (5, ""), "{ran:?}");
    for expected in [
        format!("file    {path}\nhost    cellar\nmemory  64.00 MiB\n\n[targets.nas]\n"),
        "\nendpoint           http://nas.lan:9000\n".to_owned(),
        "\nsecret_access_key  in this file\n".to_owned(),
        "\nsession_token      command pass\n".to_owned(),
        "\n[targets.wrong]\nerror: ".to_owned(),
    ] {
        assert!(ran.stdout.contains(&expected), "{expected}: {ran:?}");
    }
    assert!(!ran.stdout.contains("wJalr"), "{ran:?}");
}

#[tokio::test]
async fn secret_is_in_no_output_of_any_config_command() {
    for source in [
        format!("\"{CANARY}\""),
        "\"${KEY}\"".to_owned(),
        "{ file = \"key\" }".to_owned(),
        "{ env = \"KEY\" }".to_owned(),
        "{ command = [\"cat\", \"key\"] }".to_owned(),
    ] {
        let text = format!(
            "[targets.nas]\nendpoint = \"http://127.0.0.1:1\"\nbucket = \"b\"\naccess_key_id = \"AK\"\n\
             secret_access_key = {source}\nsession_token = {source}\n"
        );
        let mut storages = Storages::with(&text);
        storages.shell.write("key", format!("{CANARY}\n"));
        storages.set("KEY", CANARY);
        // `run` looks for it in everything that is printed.
        for (line, code) in [
            ("config check -vv", 0),
            ("config check --secrets -vv", 0),
            ("config show -vv", 0),
            ("config show --json -vv", 0),
            (
                "config add two http://127.0.0.1:1/x --access-key-id AK --secret-access-key-file key -vv",
                6,
            ),
        ] {
            let ran = storages.run(line).await;
            assert_eq!(ran.code, code, "{source}: {ran:?}");
        }
        storages.run("config secret nas --secret-access-key-file key -vv").await;
    }
}
