//! Where a command looks: the endpoint, the bucket and the prefix, and how the command reports
//! them.

use super::Shell;
use crate::support::TestServer;

fn value(shell: &Shell, name: &str) -> String {
    let name = format!("S3_BACKUP_AGENT_{name}");
    shell.env.iter().find(|(other, _)| *other == name).unwrap().1.clone()
}

#[tokio::test]
async fn bucket_in_endpoint_url_is_used_and_named() {
    let server = TestServer::embedded().await;
    let shell = Shell::of(&server);
    let (endpoint, bucket) = (value(&shell, "ENDPOINT"), value(&shell, "BUCKET"));
    let shell = shell.without("BUCKET").set("ENDPOINT", &format!("{endpoint}/{bucket}/ha"));
    let input = shell.write("x.bin", "x");
    let ran = shell.run(&[&"upload", &input, &"--name", &"x"]).await;
    assert_eq!(ran.code, 0, "{ran:?}");
    let line = format!("using {endpoint} with the bucket \"{bucket}\" and the prefix \"ha\"");
    assert!(ran.stderr.contains(&line), "{ran:?}");
    assert!(server.objects().await.iter().all(|(key, _)| key.starts_with("ha/backups/")));
    let ran = shell.run(&[&"validate"]).await;
    let advice = format!("It works with: --endpoint {endpoint} --bucket {bucket} --prefix ha");
    assert!(ran.code == 0 && ran.stdout.contains(&advice), "{ran:?}");
}

#[tokio::test]
async fn empty_list_names_prefix_that_has_backups() {
    let server = TestServer::embedded().await;
    let shell = Shell::of(&server);
    let input = shell.write("x.bin", "x");
    assert_eq!(shell.run(&[&"upload", &input, &"--name", &"x"]).await.code, 0);
    for (place, words) in [
        (&["--prefix", "ha"][..], "hint: 1 backup is in \"backups/\": use --prefix ''\n"),
        (&["--folder", "other"], "use --prefix backups --folder ''\n"),
        (&["--prefix", "backups/2026"], "use --prefix ''\n"),
    ] {
        let mut arguments: Vec<&dyn AsRef<std::ffi::OsStr>> = vec![&"list"];
        arguments.extend(place.iter().map(|argument| argument as &dyn AsRef<std::ffi::OsStr>));
        let ran = shell.run(&arguments).await;
        assert_eq!((ran.code, ran.stdout.as_str()), (0, ""), "{ran:?}");
        assert!(
            ran.stderr.contains("No backups in bucket ") && ran.stderr.contains(words),
            "{ran:?}"
        );
        arguments.push(&"--json");
        assert_eq!(shell.run(&arguments).await.json(0)["backups"], serde_json::json!([]));
    }
    let empty = shell.run(&[&"list"]).await;
    assert!(empty.code == 0 && empty.stderr.starts_with("Backups in bucket "), "{empty:?}");
}

#[tokio::test]
async fn endpoint_from_older_variable_is_used() {
    let server = TestServer::embedded().await;
    let mut shell = Shell::of(&server);
    let (endpoint, key, secret) = (
        value(&shell, "ENDPOINT"),
        value(&shell, "ACCESS_KEY_ID"),
        value(&shell, "SECRET_ACCESS_KEY"),
    );
    for name in ["ENDPOINT", "ACCESS_KEY_ID", "SECRET_ACCESS_KEY"] {
        shell = shell.without(name);
    }
    shell.env.push(("AWS_ACCESS_KEY_ID".to_owned(), key));
    shell.env.push(("AWS_SECRET_ACCESS_KEY".to_owned(), secret));
    for name in ["AWS_ENDPOINT", "AWS_S3_ENDPOINT", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"] {
        let mut with = Shell::with(shell.env.clone());
        with.env.push((name.to_owned(), endpoint.clone()));
        let ran = with.run(&[&"list"]).await;
        assert_eq!(ran.code, 0, "{name}: {ran:?}");
        let is_older = !name.starts_with("AWS_ENDPOINT_URL");
        assert_eq!(ran.stderr.contains(&format!("the endpoint in {name}")), is_older, "{ran:?}");
    }
    let mut without = Shell::with(shell.env.clone());
    without.env.push(("MINIO_ENDPOINT".to_owned(), endpoint));
    // Nothing leaves this machine.
    without.env.push(("HTTPS_PROXY".to_owned(), "http://127.0.0.1:1".to_owned()));
    let ran = without.run(&[&"list"]).await;
    assert_eq!(ran.code, 6, "{ran:?}");
    assert!(ran.stderr.contains("MINIO_ENDPOINT does not count"), "{ran:?}");
    let asked = "no endpoint is set, so this is AWS, https://s3.us-east-1.amazonaws.com";
    assert!(ran.stderr.contains(asked), "{ran:?}");
}
