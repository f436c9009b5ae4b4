//! Secrets of named targets: how often they are read, what a failure leaves working, and who sees them.

#[cfg(target_os = "linux")]
use super::storages::secret_of;
use super::storages::{CANARY, Storages, tables};
use crate::support::TestServer;

/// A table whose secret comes from this source.
fn table(name: &str, server: &TestServer, source: &str) -> String {
    tables(&[(name, server)]).replace(&format!("{{ file = \"{name}.key\" }}"), source)
}

/// How often the commands of the secrets ran.
fn runs(storages: &Storages) -> Vec<String> {
    let runs = std::fs::read_to_string(storages.shell.path("runs")).unwrap_or_default();
    let _ = std::fs::remove_file(storages.shell.path("runs"));
    let mut runs: Vec<_> = runs.lines().map(str::to_owned).collect();
    runs.sort();
    runs
}

#[tokio::test]
async fn secret_command_runs_once_for_each_target_in_question() {
    let (one, other) = (TestServer::embedded().await, TestServer::embedded().await);
    let storages = Storages::of(&[("nas", &one), ("cloud", &other)]);
    storages.shell.write("secret.sh", "echo $1 >> runs; cat $1.key");
    storages.shell.write("small", "content");
    let source = |name: &str| format!("{{ command = [\"sh\", \"secret.sh\", \"{name}\"] }}");
    let servers = [("nas", &one), ("cloud", &other), ("third", &one)];
    let text = servers.map(|(name, server)| table(name, server, &source(name)));
    storages.shell.write("config.toml", text.join("\n"));
    for (line, expected) in [
        ("list -t nas", &["nas"][..]),
        ("list -t nas -t nas", &["nas"]),
        ("validate -t nas", &["nas"]),
        ("upload small --id x -t cloud", &["cloud"]),
        ("verify --all -t nas -t cloud", &["cloud", "nas"]),
        ("config check", &[]),
        ("config show", &[]),
        ("config check --secrets", &["cloud", "nas", "third"]),
        ("list -t other", &[]),
        ("list -t nas --bucket x", &[]),
    ] {
        let ran = storages.run(line).await;
        assert_eq!(runs(&storages), expected, "{line}: {ran:?}");
    }
}

#[tokio::test]
async fn secret_command_that_fails_leaves_the_other_targets() {
    let (one, other) = (TestServer::embedded().await, TestServer::embedded().await);
    let storages = Storages::of(&[("nas", &one)]);
    let source = format!(
        "{{ command = [\"sh\", \"-c\", \"echo {CANARY}; echo no {CANARY} >&2; exit 3\"] }}"
    );
    let text = [tables(&[("nas", &one)]), table("cloud", &other, &source)];
    storages.shell.write("config.toml", text.join("\n"));
    storages.shell.write("small", "content");
    for line in ["upload small --id a", "list", "validate", "cleanup", "delete a --yes"] {
        for order in ["--all-targets", "-t cloud -t nas"] {
            if line.starts_with("delete") {
                let ran = storages.run("upload small --id a --replace -t nas").await;
                assert_eq!(ran.code, 0, "{ran:?}");
            }
            let id = if line.starts_with("upload") { " --replace" } else { "" };
            let targets = storages.targets(&format!("{line}{id} {order} --json"), 10).await;
            let failed: Vec<_> =
                targets.iter().filter(|target| target.get("error").is_some()).collect();
            assert_eq!((targets.len(), failed.len()), (2, 1), "{line} {order}: {targets:?}");
            assert_eq!(failed[0]["target"], "cloud");
            assert_eq!(failed[0]["error"]["data"]["code"], "invalid_config");
            assert_eq!(failed[0]["error"]["data"]["field"], "targets.cloud.secret_access_key");
        }
    }
    let ran = storages.run("list --all-targets -vv").await;
    assert_eq!(ran.code, 10, "{ran:?}");
    let expected = "the command sh failed (exit status: 3): no [redacted]";
    assert!(ran.stderr.contains(expected) && ran.stderr.contains("error: cloud: "), "{ran:?}");
    // One that is not asked for does no harm.
    assert_eq!(storages.run("list -t nas").await.code, 0);
    assert_eq!(storages.run("list -t cloud").await.code, 5);
    assert_eq!(other.objects().await, []);
}

#[tokio::test]
async fn session_token_comes_from_a_command_too() {
    let server = TestServer::embedded().await;
    let storages = Storages::of(&[("nas", &server)]);
    storages
        .append("session_token = { command = [\"sh\", \"-c\", \"echo token >> runs; exit 4\"] }");
    let ran = storages.run("list -t nas").await;
    assert_eq!((ran.code, runs(&storages)), (5, vec!["token".to_owned()]), "{ran:?}");
    assert!(ran.stderr.contains("(targets.nas.session_token)"), "{ran:?}");
}

/// Writes down what it sees of the agent and of itself.
#[cfg(target_os = "linux")]
const SPY: &str = "for file in /proc/$PPID/cmdline /proc/self/cmdline /proc/self/environ; do
    tr '\\0' '\\n' < $file >> spied
done; echo seen >> spied";

#[cfg(target_os = "linux")]
#[tokio::test]
async fn programs_see_no_secret_of_another_target() {
    let server = TestServer::embedded().await;
    let secret = secret_of(&server);
    let mut storages = Storages::of(&[("nas", &server)]);
    storages.shell.write("spy.sh", SPY);
    let credentials = storages.shell.path("credentials");
    std::fs::create_dir(&credentials).unwrap();
    std::fs::write(credentials.join("s3"), &secret).unwrap();
    storages.set("CREDENTIALS_DIRECTORY", credentials.to_str().unwrap());
    let other = "[targets.other]\nendpoint = \"http://127.0.0.1:1\"\nbucket = \"other\"\n\
                 access_key_id = \"AK\"\nsecret_access_key = { command = [\"sh\", \"spy.sh\"] }";
    for source in [
        &format!("\"{secret}\""),
        "{ file = \"nas.key\" }",
        "{ credential = \"s3\" }",
        "{ command = [\"cat\", \"nas.key\"] }",
    ] {
        let text = format!("{}\n{other}\n", table("nas", &server, source));
        storages.shell.write("config.toml", text);
        let _ = std::fs::remove_file(storages.shell.path("spied"));
        // The command of a secret, after the secret of the first target was read.
        storages.run("list -t nas -t other").await;
        // The command that makes a backup.
        let line =
            "upload --from-command --name x --id x --replace -t nas -- sh -c sh$IFS\"spy.sh\";echo";
        assert_eq!(storages.run(line).await.code, 0, "{source}");
        let spied = std::fs::read_to_string(storages.shell.path("spied")).unwrap();
        assert_eq!(spied.matches("seen").count(), 2, "{source}: {spied}");
        assert!(spied.contains("S3_BACKUP_AGENT_CONFIG=") && spied.contains("spy.sh"), "{spied}");
        assert!(!spied.contains(&secret), "{source}: {spied}");
    }
}
