//! A target that the config file names: its table is the whole truth.

use std::os::unix::fs::PermissionsExt;

use tokio::net::TcpListener;

use super::storages::{CANARY, Storages, secret_of, tables};
use crate::support::TestServer;

/// A server that nobody may connect to.
async fn decoy() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    (listener, address)
}

async fn assert_untouched(decoy: &TcpListener) {
    let connected =
        tokio::time::timeout(std::time::Duration::from_millis(50), decoy.accept()).await;
    assert!(connected.is_err(), "the decoy got a connection");
}

#[tokio::test]
async fn named_target_ignores_variables_of_other_tools_and_our_own() {
    let server = TestServer::start().await;
    let (decoy, address) = decoy().await;
    let mut storages = Storages::of(&[("nas", &server)]);
    for (name, value) in [
        ("AWS_ACCESS_KEY_ID", "wrong"),
        ("AWS_SECRET_ACCESS_KEY", "wrong-wrong"),
        ("AWS_SESSION_TOKEN", "wrong-wrong"),
        ("AWS_PROFILE", "wrong"),
        ("AWS_REGION", "wrong-1"),
        ("AWS_CA_BUNDLE", "/does/not/exist"),
        ("AWS_ENDPOINT_URL", &address),
        ("S3_BACKUP_AGENT_ENDPOINT", &address),
        ("S3_BACKUP_AGENT_BUCKET", "wrong"),
        ("S3_BACKUP_AGENT_PREFIX", "wrong"),
        ("S3_BACKUP_AGENT_REGION", "wrong-1"),
        ("S3_BACKUP_AGENT_SECRET_ACCESS_KEY", "wrong-wrong"),
        ("S3_BACKUP_AGENT_SESSION_TOKEN", "wrong-wrong"),
        ("S3_BACKUP_AGENT_PART_SIZE", "1GiB"),
        ("S3_BACKUP_AGENT_CA_FILE", "/does/not/exist"),
    ] {
        storages.set(name, value);
    }
    assert_eq!(storages.run("validate -t nas --json").await.json(0)["ok"], true);
    assert_eq!(storages.run("validate --all-targets").await.code, 0);
    let said = storages.run("list -t nas -v").await;
    assert!(said.stderr.contains("do not count"), "{said:?}");
    assert!(
        said.stderr.contains("AWS_PROFILE") && said.stderr.contains("AGENT_BUCKET"),
        "{said:?}"
    );
    assert_untouched(&decoy).await;
}

#[tokio::test]
async fn half_a_target_from_flags_is_refused() {
    let (decoy, address) = decoy().await;
    let text = format!(
        "[targets.nas]\nendpoint = \"{address}\"\nbucket = \"b\"\naccess_key_id = \"AK\"\n\
         secret_access_key = \"{CANARY}\"\n"
    );
    let mut storages = Storages::with(&text);
    for flag in [
        "--endpoint http://x",
        "--bucket x",
        "--prefix x",
        "--folder x",
        "--access-key-id x",
        "--secret-access-key-file x",
        "--session-token-file x",
    ] {
        for choice in ["-t nas", "--all-targets"] {
            let ran = storages.run(&format!("list {choice} {flag}")).await;
            assert_eq!(ran.code, 64, "{ran:?}");
            let name = flag.split(' ').next().unwrap();
            assert!(ran.stderr.contains(&format!("{name} cannot change")), "{ran:?}");
        }
    }
    for flag in ["--prefix x", "--folder x", "--secret-access-key-file x"] {
        assert_eq!(storages.run(&format!("list {flag}")).await.code, 64);
    }
    storages.set("S3_BACKUP_AGENT_TARGET", "nas");
    let ran = storages.run("list --bucket x").await;
    assert!(ran.code == 64 && ran.stderr.contains("unset S3_BACKUP_AGENT_TARGET"), "{ran:?}");
    assert_untouched(&decoy).await;
}

#[tokio::test]
async fn tuning_flag_wins_over_the_table_and_its_variable_does_not() {
    let server = TestServer::start().await;
    let mut storages = Storages::of(&[("nas", &server)]);
    storages.append("part_size = \"6MiB\"");
    storages.shell.write("big", vec![7; 25 << 20]);
    storages.set("S3_BACKUP_AGENT_PART_SIZE", "12MiB");
    for (flag, parts) in [("", 5), (" --part-size 13MiB", 2)] {
        let line = format!("upload big --id big --replace -t nas --json{flag}");
        let key = storages.run(&line).await.json(0)["backup"]["name"].as_str().unwrap().to_owned();
        let prefix = match server.prefix.as_str() {
            "" => String::new(),
            prefix => format!("{prefix}/"),
        };
        let key = format!("{prefix}backups/{key}.metadata.json");
        let metadata: serde_json::Value =
            serde_json::from_slice(&server.get(&key).await.unwrap()).unwrap();
        let stored = metadata["s3_backup_agent"]["parts"].as_array().unwrap();
        assert_eq!(stored.len(), parts, "{flag}");
    }
}

#[tokio::test]
async fn target_is_chosen_by_default_or_asked_for() {
    let server = TestServer::start().await;
    let one = Storages::of(&[("nas", &server)]);
    assert_eq!(one.run("list").await.code, 0);
    let two = Storages::of(&[("nas", &server), ("cloud", &server)]);
    let ran = two.run("list").await;
    assert_eq!(ran.code, 5);
    assert!(ran.stderr.contains("no target was named"), "{ran:?}");
    assert!(ran.stderr.contains("nas, cloud") && ran.stderr.contains("-t"), "{ran:?}");
    let text = std::fs::read_to_string(two.shell.path("config.toml")).unwrap();
    two.shell.write("config.toml", format!("default_target = \"cloud\"\n{text}"));
    assert_eq!(two.run("list").await.code, 0);
    let unknown = two.run("list -t clod").await;
    assert_eq!(unknown.code, 5);
    assert!(unknown.stderr.contains("there is no target \"clod\""), "{unknown:?}");
    let mut by_variable = Storages::of(&[("nas", &server), ("cloud", &server)]);
    by_variable.set("S3_BACKUP_AGENT_TARGET", "nas");
    assert_eq!(by_variable.run("list").await.code, 0);
    assert_eq!(by_variable.run("info x").await.code, 3);
    by_variable.set("S3_BACKUP_AGENT_TARGET", "nas,cloud");
    assert_eq!(by_variable.targets("list --json", 0).await.len(), 2);
    assert_eq!(by_variable.targets("list --all-targets --json", 0).await.len(), 2);
    for line in ["list --all-targets -t nas", "info x", "download x -t nas -t cloud"] {
        assert_eq!(by_variable.run(line).await.code, 64, "{line}");
    }
}

#[tokio::test]
async fn own_settings_are_used_without_the_config_file() {
    let server = TestServer::start().await;
    let mut storages = Storages::with("this is no config file");
    for (name, value) in server.env() {
        storages.set(&name, &value);
    }
    assert_eq!(storages.run("list").await.code, 0);
    storages.shell.env.retain(|(name, _)| {
        !["ENDPOINT", "BUCKET", "ACCESS_KEY_ID"]
            .iter()
            .any(|it| *name == format!("S3_BACKUP_AGENT_{it}"))
    });
    let ran = storages.run("list").await;
    assert_eq!(ran.code, 5, "{ran:?}");
    assert!(ran.stderr.contains("config.toml:1:"), "{ran:?}");
}

#[tokio::test]
async fn variables_of_aws_tools_and_a_config_file_are_an_error() {
    let (decoy, address) = decoy().await;
    let mut storages = Storages::with("[targets.nas]\nbucket = \"b\"\n");
    storages.set("AWS_ENDPOINT_URL", &format!("{address}/bucket-of-a-script"));
    storages.set("AWS_ACCESS_KEY_ID", "AK");
    storages.set("AWS_SECRET_ACCESS_KEY", CANARY);
    let ran = storages.run("list").await;
    assert_eq!(ran.code, 5, "{ran:?}");
    assert!(ran.stderr.contains("AWS_ENDPOINT_URL"), "{ran:?}");
    assert!(ran.stderr.contains("-t") && ran.stderr.contains("--config none"), "{ran:?}");
    assert_untouched(&decoy).await;
    // As it was before there was a file.
    let ran = storages.run("list --deadline 3s --config none").await;
    assert_ne!(ran.code, 5, "{ran:?}");
}

#[tokio::test]
async fn config_file_is_the_first_that_is_found() {
    let server = TestServer::start().await;
    let mut storages = Storages::of(&[("one", &server)]);
    for name in ["two", "three"] {
        let folder = storages.shell.path(name).join("s3-backup-agent");
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("config.toml"), tables(&[(name, &server)])).unwrap();
        std::fs::write(folder.join(format!("{name}.key")), secret_of(&server)).unwrap();
    }
    let two = storages.shell.path("two");
    storages.set("XDG_CONFIG_HOME", two.to_str().unwrap());
    let file = |name: &str| storages.shell.path(name).join("s3-backup-agent/config.toml");
    let three = file("three").display().to_string();
    assert_eq!(storages.run("list -t one").await.code, 0);
    assert_eq!(storages.run(&format!("--config {three} list -t three")).await.code, 0);
    assert_eq!(storages.run(&format!("list -t three --config {three}")).await.code, 0);
    let none = storages.run("list -t one --config none").await;
    assert_eq!(none.code, 5);
    assert!(none.stderr.contains("there is no config file"), "{none:?}");
    storages.shell.env.retain(|(name, _)| name != "S3_BACKUP_AGENT_CONFIG");
    assert_eq!(storages.run("list -t two").await.code, 0);
    let gone = storages.run("list -t two --config /does/not/exist").await;
    assert_eq!(gone.code, 5);
    assert!(gone.stderr.contains("/does/not/exist"), "{gone:?}");
    for line in ["serve", "completions bash", "help list"] {
        let ran = storages.run(&format!("--config {three} {line}")).await;
        assert_eq!(ran.code, 64, "{line}: {ran:?}");
        assert!(ran.stderr.contains("reads no config file"), "{ran:?}");
    }
}

#[tokio::test]
async fn secret_of_each_kind_is_read_once_and_is_in_no_output() {
    let server = TestServer::start().await;
    let secret = secret_of(&server);
    let mut storages = Storages::of(&[("nas", &server)]);
    let script = storages.shell.write("secret.sh", "echo run >> runs; cat nas.key");
    let credentials = storages.shell.path("credentials");
    std::fs::create_dir(&credentials).unwrap();
    std::fs::write(credentials.join("s3"), &secret).unwrap();
    storages.set("CREDENTIALS_DIRECTORY", credentials.to_str().unwrap());
    storages.set("NAS_KEY", &secret);
    let table = tables(&[("nas", &server)]).replace("{ file = \"nas.key\" }", "SECRET");
    for source in [
        format!("\"{secret}\""),
        "\"${NAS_KEY}\"".to_owned(),
        "{ file = \"nas.key\" }".to_owned(),
        "{ credential = \"s3\" }".to_owned(),
        "{ env = \"NAS_KEY\" }".to_owned(),
        format!("{{ command = [\"sh\", \"{}\"] }}", script.display()),
    ] {
        // The other target's secret cannot be read, and is not.
        let other = "[targets.other]\nsecret_access_key = { command = [\"sh\", \"-c\", \"echo other >> runs\"] }";
        let text = format!("{}\n{other}\n", table.replace("SECRET", &source));
        storages.shell.write("config.toml", text);
        let _ = std::fs::remove_file(storages.shell.path("runs"));
        for line in
            ["list -t nas -vv", "list -t nas --json -vv", "config show", "config show --json"]
        {
            let ran = storages.run(line).await;
            let is_right = ran.code == 0 || line.starts_with("config");
            assert!(is_right, "{source}: {ran:?}");
            assert!(!ran.stdout.contains(&secret) && !ran.stderr.contains(&secret), "{ran:?}");
        }
        if source.contains("command") {
            let runs = std::fs::read_to_string(storages.shell.path("runs")).unwrap();
            assert_eq!(runs, "run\nrun\n", "{source}");
        }
    }
}

#[tokio::test]
async fn secret_that_is_missing_is_an_error_with_its_place() {
    let storages = Storages::with("");
    for (source, expected) in [
        ("{ file = \"none.key\" }", "cannot read the file with the secret access key"),
        ("{ env = \"NONE\" }", "the variable NONE is not set"),
        ("{ credential = \"x\" }", "CREDENTIALS_DIRECTORY is not set"),
        ("{ command = [\"false\"] }", "the command false failed"),
        ("{ command = [\"sh\", \"-c\", \"echo canary-1f2e3d4c5b6a; exit 3\"] }", "exit status: 3"),
        ("\"${NONE}\"", "the variable NONE is not set"),
    ] {
        let text = format!(
            "[targets.nas]\nendpoint = \"http://127.0.0.1:1\"\nbucket = \"b\"\naccess_key_id = \"AK\"\n\
             secret_access_key = {source}\n"
        );
        storages.shell.write("config.toml", text);
        for line in ["list -t nas", "config check --secrets"] {
            let ran = storages.run(line).await;
            assert_eq!(ran.code, 5, "{source}: {ran:?}");
            let place = ran.stderr.contains("config.toml:5:21: ");
            assert!(place && ran.stderr.contains(expected), "{source}: {ran:?}");
        }
    }
}

#[tokio::test]
async fn readable_file_with_a_secret_is_refused() {
    let storages = Storages::with(&format!("[targets.nas]\nsecret_access_key = \"{CANARY}\"\n"));
    let path = storages.shell.path("config.toml");
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o644)).unwrap();
    // An error in one table leaves the others usable, but not its secret readable.
    for more in ["", "bukket = \"x\"\n[targets.cloud]\nbucket = \"b\"\n"] {
        storages.append(more);
        for line in ["list -t nas", "list --all-targets", "list", "config check"] {
            let ran = storages.run(line).await;
            assert_eq!(ran.code, 5);
            assert!(ran.stderr.contains(&format!("chmod 600 {}", path.display())), "{ran:?}");
        }
    }
}

#[tokio::test]
async fn program_that_makes_a_backup_does_not_get_secrets_of_the_config_file() {
    let server = TestServer::start().await;
    let mut storages = Storages::of(&[("nas", &server)]);
    let table =
        tables(&[("nas", &server)]).replace("{ file = \"nas.key\" }", "{ env = \"NAS_KEY\" }");
    storages.shell.write("config.toml", table);
    let secret = secret_of(&server);
    storages.set("NAS_KEY", &secret);
    storages.set("OTHER", "stays");
    let line = "upload -t nas --from-command --name env --id env -- env";
    assert_eq!(storages.run(line).await.code, 0);
    let got = storages.run("download env -t nas -o -").await;
    assert!(got.stdout.contains("OTHER=stays") && !got.stdout.contains(&secret), "{got:?}");
}

#[tokio::test]
async fn error_of_the_server_names_the_setting_in_the_config_file() {
    let server = TestServer::start().await;
    let storages = Storages::of(&[("nas", &server)]);
    let text = std::fs::read_to_string(storages.shell.path("config.toml")).unwrap();
    let text = text.replace(&server.bucket, "test-there-is-no-such-bucket");
    storages.shell.write("config.toml", text);
    let ran = storages.run("list -t nas").await;
    assert_eq!(ran.code, 3, "{ran:?}");
    assert!(ran.stderr.contains("bucket in [targets.nas] of "), "{ran:?}");
    assert!(!ran.stderr.contains("--bucket"), "{ran:?}");
}
