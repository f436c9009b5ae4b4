//! Wrong settings and unusable input: each gives a helpful sentence, a stable code, the right exit
//! code, and leaves nothing behind.

use std::io::Write as _;
use std::net::TcpListener;

use super::{REAL, Shell, real_backup};
use crate::support::TestServer;

#[tokio::test]
async fn invalid_setting_is_named_with_its_flag() {
    let server = TestServer::embedded().await;
    let shell = Shell::of(&server);
    for (name, value, code, field, words) in [
        (
            "ENDPOINT",
            "s3.example.org",
            "invalid_endpoint",
            "endpoint",
            "write https://s3.example.org",
        ),
        (
            "ENDPOINT",
            "https://s3.eu-west-1.amazonaws.com/photos",
            "invalid_endpoint",
            "endpoint",
            "\"photos\"",
        ),
        ("BUCKET", "photos/2026", "invalid_bucket_name", "bucket", "prefix"),
        ("BUCKET", "", "invalid_bucket_name", "bucket", "missing"),
        ("ACCESS_KEY_ID", " AK", "invalid_config", "access_key_id", "starts or ends"),
        ("ACCESS_KEY_ID", "  ", "invalid_config", "access_key_id", "blank"),
        ("SECRET_ACCESS_KEY", "secret\t", "invalid_config", "secret_access_key", "starts or ends"),
        ("PREFIX", "../x", "invalid_config", "prefix", "without . and .."),
        ("FOLDER", "a/./b", "invalid_config", "folder", "without . and .."),
        ("REGION", "eu central", "invalid_config", "region", "letters, digits"),
        ("CA_FILE", "/no/such/file", "invalid_config", "ca_file", "No such file"),
        ("PART_SIZE", "1", "invalid_config", "part_size", "5 MiB"),
        ("CONCURRENCY", "0", "invalid_config", "concurrency", "1 to 64"),
        ("BANDWIDTH_LIMIT", "1000", "invalid_config", "bandwidth_limit", "at least 65536"),
    ] {
        let shell = shell.set(name, value);
        let error = shell.run(&[&"list", &"--json"]).await.error(5, code);
        assert_eq!(error["data"]["field"], field, "{error}");
        assert!(error["message"].as_str().unwrap().contains(words), "{error}");
        let ran = shell.run(&[&"list"]).await;
        assert_eq!((ran.code, ran.stdout.as_str()), (5, ""), "{ran:?}");
        assert!(ran.stderr.starts_with("error: ") && ran.stderr.contains(words), "{ran:?}");
        let option = if field == "secret_access_key" { "secret-access-key-file" } else { field };
        assert!(ran.stderr.contains(&format!("--{}", option.replace('_', "-"))), "{ran:?}");
    }
}

#[tokio::test]
async fn hint_about_a_secret_names_where_it_comes_from() {
    let shell = Shell::of(&TestServer::embedded().await);
    let two_lines = shell.write("secret", "two\nlines\n");
    let from_variable = shell.set("SECRET_ACCESS_KEY", "two\nlines");
    let from_file = shell.set("SECRET_ACCESS_KEY_FILE", two_lines.to_str().unwrap());
    let no_file = shell.set("SECRET_ACCESS_KEY_FILE", "/no/such/file");
    let no_token = shell.set("SESSION_TOKEN_FILE", "/no/such/file");
    for (shell, error, hint) in [
        (
            from_variable,
            "contains a blank or control character",
            "copy it again (--secret-access-key-file or S3_BACKUP_AGENT_SECRET_ACCESS_KEY)",
        ),
        (
            from_file,
            "contains a blank or control character",
            "copy it again (--secret-access-key-file or S3_BACKUP_AGENT_SECRET_ACCESS_KEY_FILE)",
        ),
        (
            no_file,
            "cannot read the file with the secret access key",
            "check --secret-access-key-file or S3_BACKUP_AGENT_SECRET_ACCESS_KEY_FILE",
        ),
        (
            no_token,
            "cannot read the file with the session token",
            "check --session-token-file or S3_BACKUP_AGENT_SESSION_TOKEN_FILE",
        ),
    ] {
        let ran = shell.run(&[&"list"]).await;
        assert_eq!(ran.code, 5, "{ran:?}");
        assert!(ran.stderr.contains(error), "{ran:?}");
        assert!(ran.stderr.ends_with(&format!("\nhint: {hint}\n")), "{ran:?}");
    }
    // Without a variable, the flag alone.
    let flag_alone = shell.without("SECRET_ACCESS_KEY");
    let ran = flag_alone.run(&[&"list", &"--secret-access-key-file", &"/no/such/file"]).await;
    assert!(ran.stderr.ends_with("\nhint: check --secret-access-key-file\n"), "{ran:?}");
}

#[tokio::test]
async fn account_keys_from_mixed_sources_are_refused() {
    let server = TestServer::embedded().await;
    let mut shell = Shell::of(&server);
    let secret =
        shell.env.iter().find(|(name, _)| name.ends_with("SECRET_ACCESS_KEY")).unwrap().1.clone();
    shell = shell.without("SECRET_ACCESS_KEY");
    shell.env.push(("AWS_ACCESS_KEY_ID".to_owned(), "AKIATESTS".to_owned()));
    shell.env.push(("AWS_SECRET_ACCESS_KEY".to_owned(), secret.clone()));
    let error = shell.run(&[&"list", &"--json"]).await.error(5, "invalid_config");
    let message = error["message"].as_str().unwrap();
    for way in [
        "S3_BACKUP_AGENT_SECRET_ACCESS_KEY",
        "--secret-access-key-file",
        "is read together with AWS_ACCESS_KEY_ID only",
    ] {
        assert!(message.contains(way), "{message}");
    }
    let file = shell.write("secret", format!("{secret}\n"));
    shell.run(&[&"list", &"--json", &"--secret-access-key-file", &file]).await.json(0);

    let mut aws = shell.without("ACCESS_KEY_ID").without("ENDPOINT").without("REGION");
    let endpoint = shell.env.iter().find(|(name, _)| name.ends_with("ENDPOINT")).unwrap().1.clone();
    aws.env.push(("AWS_ENDPOINT_URL_S3".to_owned(), endpoint));
    aws.env.push(("AWS_REGION".to_owned(), "us-east-1".to_owned()));
    aws.run(&[&"list", &"--json"]).await.json(0);

    let ran = shell.run(&[&"list", &"--secret-access-key", &"x"]).await;
    assert_eq!((ran.code, ran.stdout.as_str()), (64, ""), "{ran:?}");
}

#[tokio::test]
async fn server_refusal_is_quoted_in_error() {
    let server = TestServer::embedded().await;
    let shell = Shell::of(&server);
    let input = shell.write("x.bin", "x");
    let upload: [&dyn AsRef<std::ffi::OsStr>; 5] = [&"upload", &input, &"--name", &"x", &"--json"];
    for (name, value, exit, code) in [
        ("SECRET_ACCESS_KEY", "this is not it".replace(' ', "-"), 7, "invalid_credentials"),
        ("ACCESS_KEY_ID", "nobody".to_owned(), 7, "invalid_credentials"),
        ("BUCKET", "no-such-bucket".to_owned(), 3, "bucket_not_found"),
        ("ENDPOINT", unused_address(), 6, "cannot_connect"),
        ("ENDPOINT", "http://host.invalid".to_owned(), 6, "cannot_connect"),
        (
            "ENDPOINT",
            answering_server("200 OK", "text/html", "<html>Welcome to the console</html>"),
            5,
            "invalid_endpoint",
        ),
        (
            "ENDPOINT",
            answering_server("400 Bad Request", "application/xml", WRONG_REGION),
            5,
            "wrong_region",
        ),
    ] {
        let shell = shell.set(name, &value);
        // Repeated connection attempts take long; one is enough.
        if value != "http://host.invalid" {
            shell.run(&upload).await.error(exit, code);
        }
        let validated = shell.run(&[&"validate", &"--json"]).await.json(exit);
        assert_eq!(validated["ok"], false);
        let mut checks = validated["checks"].as_array().unwrap().iter();
        let failed = checks.find(|check| check["status"] == "failed").unwrap();
        assert_eq!(failed["error"]["code"], code);
        let ran = shell.run(&[&"validate"]).await;
        let cross = format!("✗ {}", failed["name"].as_str().unwrap());
        assert!(ran.stdout.contains(&cross) && ran.stdout.contains("- skipped: "), "{ran:?}");
    }
    assert_eq!(server.objects().await, []);
    let ran = shell.set("BUCKET", "no-such-bucket").run(&[&"list"]).await;
    assert!(ran.stderr.contains("\n  the server said: 404 NoSuchBucket"), "{ran:?}");
    assert!(ran.stderr.contains("(--bucket or S3_BACKUP_AGENT_BUCKET)\n"), "{ran:?}");
}

const WRONG_REGION: &str = "<Error><Code>AuthorizationHeaderMalformed</Code><Message>The region \
    'us-east-1' is wrong; expecting 'eu-central-1'</Message><Region>eu-central-1</Region></Error>";

fn unused_address() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}

/// The address of a server that gives this answer to every request.
fn answering_server(status: &'static str, kind: &'static str, body: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for connection in listener.incoming() {
            let mut connection = connection.unwrap();
            let mut request = [0; 8192];
            let _ = std::io::Read::read(&mut connection, &mut request);
            let _ = write!(
                connection,
                "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
                body.len()
            );
        }
    });
    format!("http://{address}")
}

#[tokio::test]
async fn upload_of_invalid_input_fails_before_any_request() {
    // No server listens there, so any use of the network would show.
    let server = TestServer::embedded().await;
    let shell = Shell::of(&server).set("ENDPOINT", &unused_address());
    let whole = std::fs::read(real_backup(REAL[0].0)).unwrap();
    let end = 1024 + 512 + 11477_usize.next_multiple_of(512);
    for length in [513, 700, 829, 1000, 1024, 1100, 1536, 5000, end - 1, end, end + 300, end + 1023]
    {
        let cut = shell.write("cut.tar", &whole[..length]);
        for more in [&[][..], &["--name", "x"]] {
            let mut arguments: Vec<&dyn AsRef<std::ffi::OsStr>> = vec![&"upload", &cut, &"--json"];
            arguments.extend(more.iter().map(|argument| argument as &dyn AsRef<std::ffi::OsStr>));
            let error = shell.run(&arguments).await.error(8, "length_mismatch");
            let message = error["message"].as_str().unwrap();
            assert!(
                message.contains("cut.tar is truncated") && message.contains("again"),
                "{message}"
            );
        }
    }
    let mut damaged = whole.clone();
    damaged[1030] ^= 1;
    let damaged = shell.write("damaged.tar", damaged);
    shell.run(&[&"upload", &damaged, &"--json"]).await.error(8, "integrity_mismatch");
    let mut unreadable = whole.clone();
    unreadable[512] = b'!';
    let unreadable = shell.write("unreadable.tar", unreadable);
    shell.run(&[&"upload", &unreadable, &"--json"]).await.error(8, "corrupt_metadata");

    let empty = shell.write("empty.tar", "");
    let error = shell.run(&[&"upload", &empty, &"--json"]).await.error(8, "length_mismatch");
    assert!(error["message"].as_str().unwrap().contains("is empty"), "{error}");
    let text = shell.write("notes.txt", "notes");
    let zeros = shell.write("zeros", vec![0; 4096]);
    for file in [&text, &zeros] {
        // Any other file is fine, and gets the name that it has.
        shell.run(&[&"upload", file, &"--json"]).await.error(6, "cannot_connect");
    }
    let error = shell.run(&[&"upload", &"-", &"--json"]).await.error(64, "invalid_params");
    assert!(error["message"].as_str().unwrap().contains("--name"), "{error}");
    assert_eq!(error["data"]["field"], "name");
    shell.run(&[&"upload", &"missing.tar", &"--json"]).await.error(74, "local_io");
    let list = shell.write("list.json", "[1]");
    let upload: [&dyn AsRef<std::ffi::OsStr>; 7] =
        [&"upload", &text, &"--name", &"x", &"--metadata", &list, &"--json"];
    shell.run(&upload).await.error(64, "invalid_params");
}

#[tokio::test]
async fn upload_that_turns_invalid_midway_leaves_nothing() {
    let server = TestServer::start().await;
    let shell = Shell::of(&server);
    let empty: [&dyn AsRef<std::ffi::OsStr>; 5] = [&"upload", &"-", &"--name", &"x", &"--json"];
    let ran = shell.run_with_input(&empty, b"").await;
    ran.error(8, "length_mismatch");

    let folder = shell.path("folder");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("a"), vec![1; 22 << 20]).unwrap();
    let ran = shell.run(&[&"upload", &folder, &"--id", &"", &"--json"]).await;
    let error = ran.error(64, "invalid_params");
    assert_eq!(error["data"]["field"], "backup.id");
    assert_eq!(server.objects().await, []);
    assert_eq!(server.open_uploads().await, []);
}

#[tokio::test]
async fn retry_for_above_one_hour_is_refused() {
    let server = TestServer::start().await;
    let shell = Shell::of(&server);
    shell.write("small", "content");
    let upload = async |time: &str| {
        let arguments = ["upload", "small", "--name", "x", "--id", "x", "--json", "--retry-for"];
        let mut arguments: Vec<&dyn AsRef<std::ffi::OsStr>> =
            arguments.iter().map(|argument| argument as &dyn AsRef<std::ffi::OsStr>).collect();
        arguments.push(&time);
        shell.run(&arguments).await
    };
    let ran = upload("61m").await;
    assert!(ran.code == 64 && ran.stderr.contains("at most 1h"), "{ran:?}");
    assert_eq!(upload("15").await.code, 64);
    upload("15m").await.json(0);
    shell.run(&[&"download", &"x", &"--retry-for", &"1h", &"-o", &"back", &"--json"]).await.json(0);
    assert_eq!(std::fs::read(shell.path("back")).unwrap(), b"content");
}

#[cfg(unix)]
#[tokio::test]
async fn file_that_is_not_regular_is_refused_at_once() {
    let server = TestServer::embedded().await;
    let shell = Shell::of(&server);
    let fifo = shell.path("fifo");
    assert!(std::process::Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    let fifo = fifo.display().to_string();
    for path in ["/dev/zero", "/", &fifo] {
        for (flag, code, exit) in [
            ("--ca-file", "invalid_config", 5),
            ("--secret-access-key-file", "invalid_config", 5),
            ("--session-token-file", "invalid_config", 5),
        ] {
            let error = shell.run(&[&"list", &"--json", &flag, &path]).await.error(exit, code);
            let message = error["message"].as_str().unwrap();
            assert!(message.contains("not a regular file"), "{message}");
        }
        let file = real_backup(REAL[0].0);
        let upload = shell.run(&[&"upload", &file, &"--json", &"--metadata", &path]).await;
        let error = upload.error(74, "local_io");
        assert!(error["message"].as_str().unwrap().contains("not a regular file"), "{error}");
    }
}

#[tokio::test]
async fn panic_on_main_thread_has_its_own_exit_code() {
    let server = TestServer::embedded().await;
    let mut shell = Shell::of(&server);
    shell.env.push(("S3_BACKUP_AGENT_DEMO_FAULT".to_owned(), "list".to_owned()));
    let ran = shell.run(&[&"list"]).await;
    assert_eq!(ran.code, 70, "{ran:?}");
    assert!(ran.stderr.contains("a fault inside the agent"), "{ran:?}");
}
