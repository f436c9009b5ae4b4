//! Commands on several targets of the config file: one answer, which says of each what was done.

use serde_json::{Value, json};

use super::storages::{Storages, tables};
use crate::support::TestServer;

/// Appended to a config file: a server that is away.
const AWAY: &str = "[targets.away]\nendpoint = \"http://127.0.0.1:1\"\nbucket = \"b\"\naccess_key_id = \"AK\"\n\
                    secret_access_key = \"abcdefgh\"";

async fn two() -> (TestServer, TestServer, Storages) {
    // Not every other server lists incomplete uploads.
    let (one, other) = (TestServer::embedded().await, TestServer::embedded().await);
    let storages = Storages::of(&[("nas", &one), ("cloud", &other)]);
    for (name, content) in [("a", "content of a"), ("b", "content of b")] {
        storages.shell.write(name, content);
        assert_eq!(storages.run(&format!("upload {name} --id {name} -t nas")).await.code, 0);
    }
    storages.shell.write("c", "content of c");
    assert_eq!(storages.run("upload c --id c -t cloud").await.code, 0);
    (one, other, storages)
}

fn code_of(target: &Value) -> &str {
    target["error"]["data"]["code"].as_str().unwrap_or_default()
}

#[tokio::test]
async fn list_shows_the_backups_of_all_targets_in_one_table() {
    let (_one, _other, storages) = two().await;
    let ran = storages.run("list --all-targets").await;
    assert_eq!(ran.code, 0, "{ran:?}");
    let lines: Vec<_> = ran.stdout.lines().collect();
    assert!(lines[0].contains("TARGET"), "{ran:?}");
    assert_eq!(lines.iter().filter(|line| line.contains(" nas ")).count(), 2, "{ran:?}");
    assert_eq!(lines.iter().filter(|line| line.contains(" cloud ")).count(), 1, "{ran:?}");
    assert!(ran.stdout.contains("3 backups"), "{ran:?}");
    let limited = storages.run("list --all-targets --limit 2").await;
    assert!(limited.stdout.contains("2 of 3 backups"), "{limited:?}");
    let targets = storages.targets("list --all-targets --json", 0).await;
    let found: Vec<_> = targets
        .iter()
        .map(|it| (it["target"].as_str().unwrap(), it["backups"].as_array().unwrap().len()))
        .collect();
    assert_eq!(found, [("nas", 2), ("cloud", 1)]);
    // One target is told as without a config file.
    let single = storages.run("list -t nas --json").await.json(0);
    assert_eq!(single["backups"].as_array().unwrap().len(), 2);
    let single = storages.run("list -t nas").await;
    assert!(!single.stdout.contains("TARGET"), "{single:?}");
}

#[tokio::test]
async fn target_that_fails_does_not_stop_the_others() {
    let (_one, _other, storages) = two().await;
    storages.append(AWAY);
    for line in ["list", "validate", "verify --all", "cleanup"] {
        let ran = storages.run(&format!("{line} --all-targets")).await;
        assert_eq!(ran.code, 10, "{line}: {ran:?}");
        if line != "validate" {
            assert!(ran.stderr.contains("error: away: cannot connect"), "{line}: {ran:?}");
            assert!(ran.stderr.contains("endpoint in [targets.away] of"), "{line}: {ran:?}");
        }
    }
    let targets = storages.targets("list --all-targets --json", 10).await;
    let codes: Vec<_> = targets.iter().map(code_of).collect();
    assert_eq!(codes, ["", "", "cannot_connect"]);
    // None of them: the first error counts.
    storages.append("[targets.wrong]\nbukket = \"x\"");
    let ran = storages.run("list -t away -t wrong").await;
    assert_eq!(ran.code, 6, "{ran:?}");
    let ran = storages.run("list -t wrong -t away").await;
    assert_eq!(ran.code, 5, "{ran:?}");
    let ran = storages.run("list -t wrong -t nas").await;
    assert_eq!(ran.code, 10, "{ran:?}");
    assert!(ran.stdout.contains("2 backups"), "{ran:?}");
}

#[tokio::test]
async fn validate_reports_each_target() {
    let (_one, _other, storages) = two().await;
    let ran = storages.run("validate --all-targets").await;
    assert_eq!(ran.code, 0, "{ran:?}");
    for expected in ["nas:\n", "cloud:\n", "The bucket can be used."] {
        assert!(ran.stdout.contains(expected), "{expected}: {ran:?}");
    }
    let targets = storages.targets("validate --all-targets --json", 0).await;
    assert_eq!(targets.iter().map(|it| &it["ok"]).collect::<Vec<_>>(), [true, true]);
}

#[tokio::test]
async fn verify_names_the_target_of_each_backup() {
    let (one, _other, storages) = two().await;
    let ran = storages.run("verify --all --all-targets").await;
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(ran.stdout.matches("nas: ").count(), 2, "{ran:?}");
    assert_eq!(ran.stdout.matches("cloud: ").count(), 1, "{ran:?}");
    let (key, _) = one.objects().await.into_iter().find(|(key, _)| key.ends_with("a.tar")).unwrap();
    one.put(&key, "content of X").await;
    let ran = storages.run("verify --all --all-targets --json").await;
    assert_eq!(ran.code, 8, "{ran:?}");
    let lines: Vec<Value> =
        ran.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let damaged: Vec<_> = lines.iter().filter(|line| line["status"] == "damaged").collect();
    assert_eq!((lines.len(), damaged.len()), (3, 1), "{ran:?}");
    assert_eq!((&damaged[0]["target"], &damaged[0]["backup_id"]), (&json!("nas"), &json!("a")));
}

#[tokio::test]
async fn cleanup_works_on_all_targets() {
    let (one, other, storages) = two().await;
    one.abandon_upload("backups/x.tar", true).await;
    other.abandon_upload("backups/y.tar", true).await;
    let ran = storages.run("cleanup --all-targets --older-than 0s").await;
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(ran.stdout.contains("nas: Removed the incomplete upload of backups/x.tar"), "{ran:?}");
    assert!(
        ran.stdout.contains("cloud: Removed the incomplete upload of backups/y.tar"),
        "{ran:?}"
    );
    assert_eq!((one.open_uploads().await, other.open_uploads().await), (vec![], vec![]));
}

#[tokio::test]
async fn delete_works_where_the_backup_is() {
    let (one, other, storages) = two().await;
    let ran = storages.run("delete a --all-targets --yes").await;
    assert_eq!(ran.code, 10, "{ran:?}");
    assert!(ran.stdout.contains("nas: Deleted a ("), "{ran:?}");
    assert!(ran.stderr.contains("error: cloud: there is no backup"), "{ran:?}");
    assert_eq!(one.objects().await.len(), 2);
    assert_eq!(storages.run("upload c --id c -t nas").await.code, 0);
    let targets = storages.targets("delete c --all-targets --yes --json", 0).await;
    assert_eq!(targets.iter().map(|it| &it["deleted"]).collect::<Vec<_>>(), [true, true]);
    assert_eq!((one.objects().await.len(), other.objects().await.len()), (2, 0));
    assert_eq!(storages.run("delete c --all-targets --yes").await.code, 3);
}

#[tokio::test]
async fn json_of_every_command_has_an_entry_for_each_target() {
    let (one, _other, storages) = two().await;
    storages.append(AWAY);
    one.abandon_upload("backups/x.tar", true).await;
    let targets = storages.targets("validate --all-targets --json", 10).await;
    assert_eq!(targets.iter().map(|it| &it["ok"]).collect::<Vec<_>>(), [true, true, false]);
    assert_eq!(targets[2]["target"], "away");
    let targets = storages.targets("cleanup --all-targets --older-than 0s --json", 10).await;
    assert_eq!(targets.iter().map(code_of).collect::<Vec<_>>(), ["", "", "cannot_connect"]);
    assert_eq!(targets[0]["items"][0]["key"], "backups/x.tar");
    assert_eq!((&targets[1]["items"], targets[2].get("items")), (&json!([]), None));
    let targets = storages.targets("delete a --all-targets --yes --json", 10).await;
    let codes: Vec<_> = targets.iter().map(code_of).collect();
    assert_eq!(codes, ["", "not_found", "cannot_connect"]);
    assert_eq!((&targets[0]["deleted"], targets[1].get("deleted")), (&json!(true), None));
    assert_eq!(targets[2]["error"]["data"]["field"], "targets.away.endpoint");
    // `verify` prints a line for each backup, and one for a target that fails.
    let ran = storages.run("verify --all --all-targets --json").await;
    assert_eq!(ran.code, 10, "{ran:?}");
    let lines: Vec<Value> =
        ran.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let names: Vec<_> = lines.iter().map(|line| line["target"].as_str().unwrap()).collect();
    assert_eq!(names, ["nas", "cloud", "away"]);
    assert_eq!(code_of(&lines[2]), "cannot_connect");
}

#[tokio::test]
async fn command_that_fails_everywhere_ends_with_the_first_error() {
    let (one, _other, storages) = two().await;
    let table = |name: &str| tables(&[(name, &one)]).replace(&format!("{name}.key"), "nas.key");
    let gone = table("gone").replace(&one.bucket, "test-there-is-no-such-bucket");
    let id = one.config()["access_key_id"].as_str().unwrap().to_owned();
    let locked = table("locked").replace(&id, "AKIAUNKNOWN");
    let text = std::fs::read_to_string(storages.shell.path("config.toml")).unwrap();
    storages.shell.write("config.toml", [text, gone, locked].join("\n"));
    for line in ["list", "validate", "verify --all", "cleanup", "delete a --yes"] {
        for json in ["", " --json"] {
            for (order, code) in [("-t gone -t locked", 3), ("-t locked -t gone", 7)] {
                let ran = storages.run(&format!("{line} {order}{json}")).await;
                assert_eq!(ran.code, code, "{line} {order}: {ran:?}");
            }
            let ran = storages.run(&format!("{line} -t gone -t nas -t locked{json}")).await;
            let is_gone = line.starts_with("delete") && !json.is_empty();
            assert_eq!(ran.code, if is_gone { 3 } else { 10 }, "{line}: {ran:?}");
        }
    }
}

#[tokio::test]
async fn target_that_is_named_twice_counts_once() {
    let (one, _other, storages) = two().await;
    let single = storages.run("list -t nas -t nas --json").await.json(0);
    assert_eq!(single["backups"].as_array().unwrap().len(), 2);
    let ran = storages.run("upload c --id c -t nas -t nas --json").await.json(0);
    assert_eq!(ran["backup"]["id"], "c");
    assert_eq!(one.objects().await.len(), 6);
}
