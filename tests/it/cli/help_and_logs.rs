//! Help, completions, man pages, usage errors and logs.

use std::ffi::OsStr;

use s3_backup_agent::demo::host::Host;
use serde_json::json;

use super::Shell;
use crate::support::agent_command;

const COMMANDS: [&str; 15] = [
    "serve",
    "validate",
    "upload",
    "list",
    "info",
    "download",
    "verify",
    "delete",
    "cleanup",
    "repair",
    "config",
    "demo",
    "completions",
    "man",
    "help",
];

fn shell() -> Shell {
    Shell::with(vec![("S3_BACKUP_AGENT_SECRET_ACCESS_KEY".to_owned(), "c4n4ry".to_owned())])
}

#[tokio::test]
async fn help_of_every_command_has_examples() {
    let shell = shell();
    let whole = shell.run(&[&"--help"]).await;
    assert_eq!((whole.code, whole.stderr.as_str()), (0, ""));
    for number in ["  0  done", " 64  the command line is wrong", "130  interrupted"] {
        assert!(whole.stdout.contains(number), "{whole:?}");
    }
    for command in COMMANDS {
        assert!(whole.stdout.contains(&format!("\n  {command}")), "{command}");
        let help = shell.run(&[&command, &"--help"]).await;
        assert_eq!(help.code, 0);
        assert!(
            help.stdout.contains(&format!("Examples:\n  s3-backup-agent {command}"))
                || help.stdout.contains(&format!("\n  s3-backup-agent {command}")),
            "{help:?}"
        );
        let page = shell.run(&[&"man", &command]).await;
        assert_eq!(page.code, 0);
        assert!(page.stdout.contains(&format!(".TH s3-backup-agent-{command} 1")), "{page:?}");
        assert!(page.stdout.contains(".SH EXAMPLES\n"), "{page:?}");
    }
    let page = shell.run(&[&"man"]).await.stdout;
    for section in ["NAME", "SYNOPSIS", "\"ACCESS KEYS\"", "\"EXIT CODES\""] {
        assert!(page.contains(&format!(".SH {section}\n")), "{section}: {page}");
    }
}

#[tokio::test]
async fn short_help_has_the_options_of_the_command_only() {
    let shell = shell();
    let list = shell.run(&[&"list", &"-h"]).await.stdout;
    assert!(list.lines().count() <= 20 && list.contains("--limit"), "{list}");
    assert!(!list.contains("--endpoint") && list.contains("help storage"), "{list}");
    assert!(shell.run(&[]).await.stderr.lines().count() <= 30);
    for action in ["check", "show", "add", "secret"] {
        let help = shell.run(&[&"config", &action, &"-h"]).await.stdout;
        assert!(help.lines().count() <= 20, "{help}");
        assert!(help.contains(&format!("Examples:\n  s3-backup-agent config {action}")), "{help}");
    }
    let long = shell.run(&[&"list", &"--help"]).await.stdout;
    let storage = shell.run(&[&"help", &"storage"]).await;
    assert_eq!(storage.code, 0);
    for option in ["--endpoint", "--concurrency", "--bandwidth-limit", "--state-dir"] {
        assert!(long.contains(option) && storage.stdout.contains(option), "{option}");
    }
    assert!(
        !storage.stdout.contains("--limit") && !storage.stdout.contains('\u{1b}'),
        "{storage:?}"
    );
    let help = shell.run(&[&"help", &"list"]).await;
    assert_eq!((help.code, help.stdout), (0, long));
    assert_eq!(shell.run(&[&"help", &"nothing"]).await.code, 64);
}

#[tokio::test]
async fn backup_and_restore_lead_to_the_command_that_is_meant() {
    for (word, command) in [("backup", "upload"), ("restore", "download"), ("ls", "list")] {
        let ran = shell().run(&[&word]).await;
        assert_eq!(ran.code, 64);
        assert!(ran.stderr.contains(&format!("`{command}`")), "{ran:?}");
    }
}

#[tokio::test]
async fn missing_backup_is_the_only_one_that_is_asked_for() {
    let shell = shell().set("BUCKET", "backups").set("ACCESS_KEY_ID", "key");
    let hint = "hint: give the ID or the name that `s3-backup-agent list` shows";
    for (command, more) in
        [("info", ""), ("download", ""), ("delete", ""), ("verify", ", or check all with --all")]
    {
        let ran = shell.run(&[&command]).await;
        assert_eq!(ran.code, 64, "{ran:?}");
        assert_eq!(ran.stderr, format!("error: no backup was named\n{hint}{more}\n"), "{command}");
    }
}

#[tokio::test]
async fn missing_settings_are_named_together_with_a_hint() {
    let ran = Shell::with(Vec::new()).run(&[&"list"]).await;
    assert_eq!(ran.code, 5, "{ran:?}");
    let (error, hint) = ran.stderr.split_once('\n').unwrap();
    assert_eq!(error, "error: settings are missing: bucket, access key ID, secret access key");
    let names = ["BUCKET", "ACCESS_KEY_ID", "SECRET_ACCESS_KEY"];
    assert!(hint.starts_with("hint: set S3_BACKUP_AGENT_BUCKET"), "{ran:?}");
    assert!(names.iter().all(|name| hint.contains(&format!("S3_BACKUP_AGENT_{name}"))), "{ran:?}");
    // A single one is named alone.
    let ran = shell().run(&[&"list", &"--bucket", &"backups"]).await;
    assert!(ran.stderr.starts_with("error: the access key ID is missing"), "{ran:?}");
}

#[tokio::test]
async fn completions_are_printed_for_every_shell() {
    for name in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let ran = shell().run(&[&"completions", &name]).await;
        assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
        assert!(ran.stdout.contains("secret-access-key-file"), "{name}");
    }
}

#[tokio::test]
async fn invalid_command_line_exits_with_64() {
    let shell = shell();
    let wrong: &[&[&dyn AsRef<OsStr>]] = &[
        &[],
        &[&"backup"],
        &[&"upload"],
        &[&"list", &"--colour"],
        &[&"list", &"--addressing-style", &"sideways"],
        &[&"list", &"--part-size", &"16 apples"],
        &[&"list", &"--verbose", &"--quiet"],
        &[&"serve", &"--bucket", &"backups"],
        &[&"serve", &"now"],
        &[&"demo", &"--size", &"much"],
        &[&"man", &"nothing"],
    ];
    for arguments in wrong {
        let ran = shell.run(arguments).await;
        assert_eq!((ran.code, ran.stdout.as_str()), (64, ""), "{ran:?}");
        assert!(!ran.stderr.is_empty());
    }
}

#[tokio::test]
async fn version_is_printed() {
    let ran = shell().run(&[&"--version"]).await;
    assert_eq!(ran.stdout, format!("s3-backup-agent {}\n", env!("CARGO_PKG_VERSION")));
    let ran = shell().run(&[&"serve", &"--protocol"]).await;
    assert_eq!((ran.code, ran.stdout.as_str()), (0, "backup-agent 1\n"));
}

#[tokio::test]
async fn verbose_prints_more() {
    let mut shell = shell();
    shell.env.extend([
        ("S3_BACKUP_AGENT_ENDPOINT".to_owned(), "https://127.0.0.1:1".to_owned()),
        ("S3_BACKUP_AGENT_BUCKET".to_owned(), "bucket".to_owned()),
        ("S3_BACKUP_AGENT_ACCESS_KEY_ID".to_owned(), "key".to_owned()),
        ("S3_BACKUP_AGENT_INSECURE_SKIP_TLS_VERIFY".to_owned(), "yes".to_owned()),
    ]);
    let ran = shell.run(&[&"validate", &"--read-only"]).await;
    assert_eq!(ran.code, 6, "{ran:?}");
    assert!(ran.stderr.starts_with("warning: certificates are not verified"), "{ran:?}");
    let missing: [&dyn AsRef<OsStr>; 3] = [&"list", &"--ca-file", &"/no/such/file"];
    let ran = shell.run(&missing).await;
    assert!(ran.stderr.starts_with("error: ") && !ran.stderr.contains("because"), "{ran:?}");
    let ran = shell.run(&[&missing[..], &[&"-v"]].concat()).await;
    let cause = if cfg!(windows) { "Path not found" } else { "No such file" };
    assert!(ran.stderr.contains(&format!("\n  because: {cause}")), "{ran:?}");
}

#[tokio::test]
async fn serve_logs_json() {
    let host = Host::launch(agent_command(), &["serve"], &[]).await.unwrap();
    let config = json!({
        "bucket": "bucket", "access_key_id": "a", "secret_access_key": "c4n4ry", "verify_tls": false,
    });
    host.call("target.open", json!({"target": "t", "config": config})).await.unwrap();
    let logged = loop {
        let lines = host.stderr_lines();
        if lines.iter().any(|line| line.contains("certificates")) {
            break lines;
        }
        tokio::task::yield_now().await;
    };
    let warning = logged.iter().find(|line| line.contains("certificates")).unwrap();
    let line: serde_json::Value = serde_json::from_str(warning).unwrap();
    assert_eq!(line["level"], "warning");
    assert!(line["msg"].as_str().unwrap().starts_with("certificates are not verified"), "{line}");
    assert!(line["ts"].as_str().unwrap().ends_with('Z'), "{line}");
    assert!(!logged.join("\n").contains("c4n4ry"), "{logged:?}");
}

#[tokio::test]
async fn demo_passes() {
    for arguments in [&["demo"][..], &["demo", "--size", "25M"]] {
        let arguments: Vec<_> = arguments.iter().map(|it| it as &dyn AsRef<OsStr>).collect();
        let ran = shell().run(&arguments).await;
        assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{ran:?}");
        assert!(ran.stdout.lines().last().unwrap().starts_with("Demo passed: "), "{ran:?}");
    }
}
