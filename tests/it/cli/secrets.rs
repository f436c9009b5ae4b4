//! Secrets that were given in the wrong place are never printed.

use std::ffi::OsStr;

use super::Shell;
use crate::support::TestServer;

/// As short as a person may choose one, so that only its place shows that it is a secret.
const SECRET: &str = "hunter2-canary";

#[tokio::test]
async fn secret_in_wrong_argument_is_not_printed() {
    let shell = Shell::of(&TestServer::embedded().await);
    let attached = format!("--secret-access-key={SECRET}");
    let short = format!("-s{SECRET}");
    let unknown = format!("--{SECRET}");
    let json = format!("--json={SECRET}");
    let url = format!("user:{SECRET}@nas:9000");
    let whole = format!("https://user:{SECRET}@nas:9000");
    let path = format!("https://user:{SECRET}/x@nas:9000");
    let cases: [(&[&str], i32); 21] = [
        (&["list", "--secret-access-key", SECRET], 64),
        (&["list", &attached], 64),
        (&["list", &short], 64),
        (&["list", &unknown], 64),
        (&["list", &json], 64),
        (&["list", SECRET], 64),
        (&[SECRET], 64),
        (&["list", "--session-token", SECRET], 64),
        (&["list", "--addressing-style", SECRET], 64),
        (&["list", "--server-side-encryption", SECRET], 64),
        (&["list", "--part-size", SECRET], 64),
        (&["list", "--deadline", SECRET], 64),
        (&["list", "--addressing-style", SECRET], 64),
        (&["list", "--secret-access-key-file", SECRET], 5),
        (&["list", "--session-token-file", SECRET], 5),
        (&["list", "--ca-file", SECRET], 5),
        (&["list", "--region", "a hunter2-canary"], 5),
        (&["list", "--bucket", "a/hunter2-canary"], 5),
        (&["list", "--endpoint", &url], 5),
        (&["list", "--endpoint", &whole], 5),
        (&["list", "--endpoint", &path], 5),
    ];
    for (arguments, exit) in cases {
        let arguments: Vec<&dyn AsRef<OsStr>> =
            arguments.iter().map(|argument| argument as &dyn AsRef<OsStr>).collect();
        let ran = shell.run(&arguments).await;
        assert_eq!(ran.code, exit, "{ran:?}");
        assert!(!ran.stdout.contains("hunter2") && !ran.stderr.contains("hunter2"), "{ran:?}");
        assert!(ran.stderr.len() > 20, "{ran:?}");
    }
    let ran = shell.run(&[&"list", &"--secret-access-key", &SECRET]).await;
    assert!(ran.stderr.contains("--secret-access-key-file"), "{ran:?}");
}

#[tokio::test]
async fn secret_in_wrong_variable_is_not_printed() {
    let server = TestServer::embedded().await;
    for (name, value, exit) in [
        ("PART_SIZE", SECRET, 64),
        ("INSECURE_SKIP_TLS_VERIFY", SECRET, 64),
        ("ADDRESSING_STYLE", SECRET, 64),
        ("SERVER_SIDE_ENCRYPTION", SECRET, 64),
        ("SECRET_ACCESS_KEY_FILE", SECRET, 5),
        ("ENDPOINT", "user:hunter2-canary@nas", 5),
        ("ENDPOINT", "wJalrXUtnFEMI/K7MDENG/bPxRfiCY0hunter2", 5),
        ("BUCKET", "wJalrXUtnFEMIK7MDENGbPxRfiCY0hunter2", 5),
        ("PREFIX", "wJalrXUtnFEMIK7MDENGbPxRfiCY0hunter2", 5),
        ("REGION", "wJalrXUtnFEMIK7MDENGbPxRfiCY0hunter2", 5),
    ] {
        let ran = Shell::of(&server).set(name, value).run(&[&"list"]).await;
        assert_eq!(ran.code, exit, "{name}: {ran:?}");
        assert!(!ran.stdout.contains("hunter2") && !ran.stderr.contains("hunter2"), "{ran:?}");
    }
}
