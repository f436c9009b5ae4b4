//! Questions of `config add` and `config secret` on a terminal.

use std::os::unix::fs::PermissionsExt;

use super::Shell;
use super::config_commands::{assert_private, user};
use super::storages::{CANARY, Storages, secret_of};
use super::terminal::{CTRL_C, CTRL_D, SIGTERM, answer, answer_after};
use crate::support::TestServer;

const CONFIG: &str = "home/.config/s3-backup-agent/config.toml";
const KEY: &str = "home/.config/s3-backup-agent/nas.key";

fn text(shell: &Shell, name: &str) -> String {
    std::fs::read_to_string(shell.path(name)).unwrap()
}

#[tokio::test]
async fn add_asks_for_everything_and_tests_it() {
    let server = TestServer::embedded().await;
    let storages = user();
    let config = server.config();
    let of = |name: &str| config[name].as_str().unwrap().to_owned();
    let (endpoint, id, secret) = (of("endpoint"), of("access_key_id"), secret_of(&server));
    let answers = [
        ("Provider, by number or name: ", "nobody"),
        ("There is no such provider", "minio"),
        ("Endpoint URL, such as http://HOST:9000: ", &endpoint),
        ("Bucket name: ", &server.bucket),
        ("Prefix, Enter for none: ", "ha/\"${X}\""),
        ("Access key ID: ", ""),
        ("Access key ID: ", &id),
        ("Secret access key: ", &secret),
        ("Description, Enter for none: ", "in the \"cellar\""),
    ];
    let ended = answer(&storages.shell, "config add nas", &answers).await;
    assert_eq!(
        (ended.code, ended.asked, ended.echoes),
        (Some(0), answers.len(), true),
        "{ended:?}"
    );
    assert!(ended.shown.contains("   5  Backblaze B2\r\n"), "{ended:?}");
    assert!(ended.shown.contains("Try it: s3-backup-agent list -t nas"), "{ended:?}");
    assert!(!ended.shown.contains(&secret), "{ended:?}");
    let expected = format!(
        "[targets.nas]\ndescription = \"in the \\\"cellar\\\"\"\nendpoint = \"{endpoint}\"\n\
         bucket = \"{}\"\nprefix = \"ha/\\\"$${{X}}\\\"\"\naccess_key_id = \"{id}\"\n\
         secret_access_key = {{ file = \"nas.key\" }}\n",
        server.bucket
    );
    assert_eq!(text(&storages.shell, CONFIG), expected);
    assert_eq!(text(&storages.shell, KEY), format!("{secret}\n"));
    assert_private(&storages.shell, &[CONFIG, KEY]);
    storages.shell.write("x", "x");
    assert_eq!(storages.run("upload x -t nas").await.code, 0);
    assert!(server.objects().await[0].0.starts_with("ha/\"${X}\"/backups/"));
}

#[tokio::test]
async fn add_asks_only_for_the_rest() {
    let storages = user();
    let line = "config add nas s3:http://127.0.0.1:1/backups/ha --no-validate --access-key-id AK";
    let answers = [("Secret access key: ", CANARY), ("Description, Enter for none: ", "")];
    let ended = answer(&storages.shell, line, &answers).await;
    assert_eq!((ended.code, ended.asked), (Some(0), 2), "{ended:?}");
    for question in ["Provider", "Endpoint", "Bucket", "Prefix", "Access key ID"] {
        assert!(!ended.shown.contains(&format!("{question}: ")), "{ended:?}");
    }
    assert_eq!(text(&storages.shell, KEY), format!("{CANARY}\n"));
    // Nothing is missing.
    storages.shell.write("key", CANARY);
    let line = "config add two http://127.0.0.1:1/backups/ha --no-validate --access-key-id AK \
                --secret-access-key-file key";
    let ended = answer(&storages.shell, line, &[]).await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(!ended.shown.contains("Description"), "{ended:?}");
    assert!(storages.run("config check --secrets").await.code == 0);
}

#[tokio::test]
async fn add_proposes_the_endpoint_and_region_of_the_provider() {
    let storages = user();
    for (name, provider, region, expected) in [
        ("one", "backblaze", "", "https://s3.eu-central-003.backblazeb2.com\"\nbucket"),
        ("two", "1", "eu-west-1", "https://s3.eu-west-1.amazonaws.com\"\nbucket"),
        ("three", "vultr", "", "https://ewr1.vultrobjects.com\"\nregion = \"ewr1\"\nbucket"),
    ] {
        let answers = [
            ("by number or name: ", provider),
            ("Region [", region),
            ("Bucket name: ", "backups"),
            ("Prefix, Enter for none: ", ""),
            ("Access key ID: ", "AK"),
            ("Secret access key: ", CANARY),
            ("Description, Enter for none: ", ""),
        ];
        let line = format!("config add {name} --no-validate");
        let ended = answer(&storages.shell, &line, &answers).await;
        assert_eq!(ended.code, Some(0), "{ended:?}");
        let text = text(&storages.shell, CONFIG);
        assert!(text.contains(&format!("[targets.{name}]\nendpoint = \"{expected}")), "{text}");
    }
}

#[tokio::test]
async fn add_that_cannot_write_asks_nothing() {
    let storages = user();
    let folder = storages.shell.path("home/.config/s3-backup-agent");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("nas.key"), CANARY).unwrap();
    std::fs::write(folder.join("config.toml"), "[targets.two]\nbucket = \"b\"\n").unwrap();
    for (name, code, expected) in [
        ("nas", 74, "nas.key exists already"),
        ("two", 64, "there is a target two"),
        ("Two", 64, "letter that is not allowed"),
    ] {
        let ended = answer(&storages.shell, &format!("config add {name}"), &[]).await;
        assert_eq!(ended.code, Some(code), "{ended:?}");
        assert!(ended.shown.contains(expected) && !ended.shown.contains("Provider"), "{ended:?}");
    }
    assert_eq!(std::fs::read_to_string(folder.join("nas.key")).unwrap(), CANARY);
}

#[tokio::test]
async fn add_keeps_what_another_wrote_while_it_asked() {
    let storages = user();
    let line = "config add nas http://127.0.0.1:1/b --no-validate --access-key-id AK";
    let answers = [("Secret access key: ", CANARY), ("Description, Enter for none: ", "")];
    for (other, code) in [("other", 0), ("nas", 64)] {
        let _ = std::fs::remove_dir_all(storages.shell.path("home"));
        let (path, table) = (storages.shell.path(CONFIG), format!("[targets.{other}]\n"));
        let write = {
            let table = table.clone();
            move |question: &str| {
                if question.starts_with("Description") {
                    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
                    std::fs::write(&path, &table).unwrap();
                }
            }
        };
        let ended = answer_after(&storages.shell, line, &answers, write).await;
        assert_eq!(ended.code, Some(code), "{ended:?}");
        let expected = if code == 0 { format!("{table}\n[targets.nas]\n") } else { table };
        let text = text(&storages.shell, CONFIG);
        assert!(text.starts_with(&expected), "{text}");
        assert_eq!(text.matches("targets.nas").count(), 1, "{text}");
        assert_eq!(storages.shell.path(KEY).exists(), code == 0);
    }
}

#[tokio::test]
async fn ctrl_c_at_any_question_ends_the_command_and_writes_nothing() {
    let storages = user();
    let all = [
        ("by number or name: ", "other"),
        ("Endpoint URL, such as https://HOST: ", "http://127.0.0.1:1"),
        ("Bucket name: ", "backups"),
        ("Prefix, Enter for none: ", ""),
        ("Access key ID: ", "AK"),
        ("Secret access key: ", CANARY),
        ("Description, Enter for none: ", ""),
    ];
    for count in 0..all.len() {
        for (key, code, said) in [
            (CTRL_C, 130, "error: stopped"),
            (SIGTERM, 130, "error: stopped"),
            (CTRL_D, 74, "has ended"),
        ] {
            let mut answers = all[..=count].to_vec();
            answers[count].1 = key;
            let ended = answer(&storages.shell, "config add nas --no-validate", &answers).await;
            assert_eq!((ended.code, ended.echoes), (Some(code), true), "{ended:?}");
            assert!(ended.shown.contains(&format!("\n{said}")) || code == 74, "{ended:?}");
            assert!(ended.shown.contains(said), "{ended:?}");
        }
    }
    assert!(!storages.shell.path("home").exists());
    // The question for a secret of all other commands.
    let line = "list --endpoint http://127.0.0.1:1 --bucket b --access-key-id AK";
    let ended = answer(&storages.shell, line, &[("Secret access key: ", CTRL_C)]).await;
    assert_eq!((ended.code, ended.echoes), (Some(130), true), "{ended:?}");
}

#[tokio::test]
async fn secret_asks_for_both_keys_and_enter_keeps_the_id() {
    let server = TestServer::embedded().await;
    let storages = Storages::of(&[("nas", &server)]);
    let (config, secret) = (text(&storages.shell, "config.toml"), secret_of(&server));
    let path = storages.shell.write("nas.key", "an-old-secret\n");
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
    let id = server.config()["access_key_id"].as_str().unwrap().to_owned();
    let question = format!("Access key ID [{id}]: ");
    let wrong = [(question.as_str(), ""), ("New secret access key: ", CANARY)];
    let ended = answer(&storages.shell, "config secret nas", &wrong).await;
    assert_eq!(ended.code, Some(7), "{ended:?}");
    assert!(ended.shown.contains("Nothing was changed.") && ended.echoes, "{ended:?}");
    assert_eq!(text(&storages.shell, "nas.key"), "an-old-secret\n");
    let right = [(question.as_str(), ""), ("New secret access key: ", &secret)];
    let ended = answer(&storages.shell, "config secret nas", &right).await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(ended.shown.contains("The access key ID is the same as before."), "{ended:?}");
    assert_eq!(text(&storages.shell, "nas.key"), format!("{secret}\n"));
    assert_eq!(text(&storages.shell, "config.toml"), config);
    for answers in [
        &[(question.as_str(), CTRL_C)][..],
        &[(&question, ""), ("New secret access key: ", CTRL_C)],
    ] {
        let ended = answer(&storages.shell, "config secret nas", answers).await;
        assert_eq!((ended.code, ended.echoes), (Some(130), true), "{ended:?}");
    }
    assert_eq!(text(&storages.shell, "nas.key"), format!("{secret}\n"));
}
