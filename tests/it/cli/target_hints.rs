//! What to change, for a named target: its table is where settings are, and most flags are refused.

use super::storages::{Storages, tables};
use crate::support::TestServer;

fn config(storages: &Storages) -> String {
    std::fs::read_to_string(storages.shell.path("config.toml")).unwrap()
}

/// The lines of a hint that belong into the table, without their indent.
fn lines_to_write(text: &str) -> String {
    let lines = text.lines().filter_map(|line| line.strip_prefix("  "));
    let lines = lines.filter(|line| line.contains(" = "));
    lines.map(|line| format!("{line}\n")).collect()
}

#[tokio::test]
async fn wrong_flag_is_not_blamed_on_the_config_file() {
    let server = TestServer::embedded().await;
    let storages = Storages::of(&[("nas", &server)]);
    for (flag, value) in [
        ("part-size", "1"),
        ("memory", "1MiB"),
        ("concurrency", "0"),
        ("bandwidth-limit", "1"),
        ("ca-file", "config.key"),
    ] {
        for all in ["-t nas", "--all-targets"] {
            let ran = storages.run(&format!("list {all} --{flag} {value}")).await;
            assert_eq!(ran.code, 5, "{ran:?}");
            assert!(ran.stderr.contains(&format!("--{flag}")), "{ran:?}");
            assert!(!ran.stderr.contains("config.toml"), "{ran:?}");
        }
    }
    // The same in the file is.
    storages.append("concurrency = 0");
    let ran = storages.run("list -t nas").await;
    let place = format!("config.toml:{}:15: ", config(&storages).lines().count());
    assert!(ran.code == 5 && ran.stderr.contains(&place), "{ran:?}");
    assert_eq!(storages.run("list -t nas --concurrency 4").await.code, 0);
}

#[tokio::test]
async fn tuning_flag_wins_over_the_table() {
    let server = TestServer::embedded().await;
    let mut storages = Storages::of(&[("nas", &server)]);
    let region = server.config()["region"].as_str().unwrap().to_owned();
    let text = config(&storages).replace(&format!("region = \"{region}\""), "region = \"table-1\"");
    storages.shell.write("config.toml", text + "addressing_style = \"path\"\n");
    storages.set("S3_BACKUP_AGENT_REGION", "variable-1");
    storages.set("AWS_REGION", "variable-2");
    storages.set("S3_BACKUP_AGENT_ADDRESSING_STYLE", "virtual");
    for (flag, expected) in [("", "table-1"), (" --region flag-1", "flag-1")] {
        let validated = storages.run(&format!("validate -t nas --json{flag}")).await.json(0);
        assert_eq!(validated["details"]["region"], expected, "{validated}");
        assert_eq!(validated["details"]["addressing_style"], "path", "{validated}");
    }
    assert_eq!(storages.run("list -t nas --ca-file none.pem").await.code, 5);
}

#[tokio::test]
async fn memory_for_several_targets_is_hinted_at_in_the_file() {
    let server = TestServer::embedded().await;
    let storages = Storages::of(&[("nas", &server), ("cloud", &server)]);
    storages.shell.write("config.toml", format!("memory = \"40MiB\"\n{}", config(&storages)));
    let error = storages.run("list --all-targets --json").await.error(9, "too_large");
    assert_eq!(error["data"]["details"]["needed"], 68 << 20);
    let ran = storages.run("list --all-targets").await;
    assert!(ran.stderr.contains("2 targets need 68 MiB of memory"), "{ran:?}");
    assert!(
        ran.stderr.contains("--memory, or memory in ") && ran.stderr.contains("config.toml"),
        "{ran:?}"
    );
    assert!(!ran.stderr.contains("S3_BACKUP_AGENT_MEMORY"), "{ran:?}");
    assert_eq!(storages.run("list -t nas").await.code, 0);
    assert_eq!(storages.run("list --all-targets --memory 68MiB").await.code, 0);
}

#[tokio::test]
async fn advice_of_validate_is_for_the_table() {
    let server = TestServer::embedded().await;
    let storages = Storages::of(&[("nas", &server)]);
    let endpoint = server.config()["endpoint"].as_str().unwrap().to_owned();
    let text = config(&storages)
        .replace(&format!("bucket = \"{}\"\n", server.bucket), "")
        .replace(&endpoint, &format!("{endpoint}/{}/ha", server.bucket));
    storages.shell.write("config.toml", &text);
    for all in ["-t nas", "--all-targets"] {
        let ran = storages.run(&format!("validate {all}")).await;
        assert_eq!(ran.code, 0, "{ran:?}");
        assert!(ran.stdout.contains("It works with this in [targets.nas] of "), "{ran:?}");
        assert!(!ran.stdout.contains("--"), "{ran:?}");
        let advice = lines_to_write(&ran.stdout);
        let expected =
            format!("endpoint = \"{endpoint}\"\nbucket = \"{}\"\nprefix = \"ha\"\n", server.bucket);
        assert_eq!(advice, expected, "{ran:?}");
    }
}

#[tokio::test]
async fn empty_list_says_what_to_write_in_the_table() {
    let server = TestServer::embedded().await;
    let storages = Storages::of(&[("nas", &server)]);
    storages.shell.write("x", "x");
    assert_eq!(storages.run("upload x --id x -t nas").await.code, 0);
    let table = config(&storages);
    for (wrong, count) in [("prefix = \"ha\"\n", 1), ("folder = \"other\"\n", 2)] {
        storages.shell.write("config.toml", format!("{table}{wrong}"));
        for all in ["-t nas", "--all-targets"] {
            let ran = storages.run(&format!("list {all}")).await;
            assert_eq!(ran.code, 0, "{ran:?}");
            assert!(ran.stderr.contains("write this in [targets.nas] of "), "{ran:?}");
            assert!(!ran.stderr.contains("--"), "{ran:?}");
            // It helps.
            let advice = lines_to_write(&ran.stderr);
            assert_eq!(advice.lines().count(), count, "{ran:?}");
            storages.shell.write("config.toml", format!("{table}{advice}"));
            let ran = storages.run(&format!("list {all}")).await;
            assert!(ran.stdout.contains("1 backup"), "{ran:?}");
            storages.shell.write("config.toml", format!("{table}{wrong}"));
        }
    }
}

#[tokio::test]
async fn target_without_endpoint_names_aws_and_its_table() {
    let server = TestServer::embedded().await;
    let mut storages = Storages::of(&[("nas", &server)]);
    let aws = "[targets.cloud]\nbucket = \"backups\"\naccess_key_id = \"AK\"\n\
               secret_access_key = { file = \"nas.key\" }\n";
    storages.shell.write("config.toml", format!("{}\n{aws}", tables(&[("nas", &server)])));
    // Nothing leaves this machine.
    storages.set("HTTPS_PROXY", "http://127.0.0.1:1");
    storages.set("NO_PROXY", "127.0.0.1");
    for (line, code) in [("list -t cloud", 6), ("list --all-targets", 10)] {
        let ran = storages.run(line).await;
        assert_eq!(ran.code, code, "{ran:?}");
        let aws = "no endpoint is set, so this is AWS, https://s3.us-east-1.amazonaws.com";
        assert!(ran.stderr.contains(aws), "{ran:?}");
        let hint = "or write an endpoint in [targets.cloud] of ";
        assert!(ran.stderr.contains(hint) && !ran.stderr.contains("--endpoint"), "{ran:?}");
    }
}
