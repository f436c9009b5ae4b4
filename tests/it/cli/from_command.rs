//! `upload --from-command`: a backup is the complete output of a command that succeeded, and
//! nothing else.

use std::ffi::OsStr;
use std::os::unix::fs::PermissionsExt;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

use super::interrupt::wait_until;
use super::{CommandResult, Shell};
use crate::support::TestServer;

/// The command line that stores the output of a command.
fn upload<'a>(words: &[&'a str]) -> Vec<&'a str> {
    [&["upload", "--from-command", "--name", "x", "--id", "x", "--json", "--"], words].concat()
}

fn command(shell: &Shell, words: &[&str]) -> tokio::process::Command {
    let words = upload(words);
    let words: Vec<_> = words.iter().map(|word| word as &dyn AsRef<OsStr>).collect();
    let mut command = shell.command(&words);
    command.env("PATH", std::env::var_os("PATH").unwrap());
    // So that the terminal of a person who runs the tests has no effect.
    command.process_group(0);
    command
}

async fn run(shell: &Shell, words: &[&str]) -> CommandResult {
    shell.end(command(shell, words)).await
}

async fn stored(shell: &Shell, words: &[&str]) -> Vec<u8> {
    run(shell, words).await.json(0);
    let back: [&dyn AsRef<OsStr>; 5] = [&"download", &"x", &"-o", &"back", &"--force"];
    assert_eq!(shell.run(&back).await.code, 0);
    assert_eq!(shell.run(&[&"delete", &"x", &"--yes"]).await.code, 0);
    std::fs::read(shell.path("back")).unwrap()
}

async fn assert_empty(server: &TestServer) {
    assert_eq!(server.objects().await, []);
    assert_eq!(server.open_uploads().await, []);
}

#[tokio::test]
async fn from_command_stores_the_complete_output() {
    let server = TestServer::start().await;
    let shell = Shell::of(&server);
    assert_eq!(stored(&shell, &["echo", "$HOME; ls | cat"]).await, b"$HOME; ls | cat\n");
    let large = stored(&shell, &["head", "-c", "23000000", "/dev/zero"]).await;
    assert!(large == vec![0; 23_000_000]);
    // Standard input is that of the agent. A command that ignores SIGPIPE is stored completely too.
    let script = "trap '' PIPE; for n in 1 2 3; do echo $n; done; cat";
    assert_eq!(stored(&shell, &["sh", "-c", script]).await, b"1\n2\n3\n");
    // The last program that writes may end after the one that was started.
    let script = "exec bash -c 'head -c 300000 /dev/zero > >(gzip -c | cat | gzip -dc)'";
    assert_eq!(stored(&shell, &["sh", "-c", script]).await.len(), 300_000);
}

#[tokio::test]
async fn from_command_failure_leaves_nothing() {
    let server = TestServer::start().await;
    let shell = Shell::of(&server);
    let plain = shell.write("plain", "no program");
    std::fs::set_permissions(&plain, PermissionsExt::from_mode(0o644)).unwrap();
    let large = "head -c 23000000 /dev/zero; exit 3";
    for (words, said, exit_code) in [
        (&["sh", "-c", "echo half; exit 3"][..], "sh failed (exit status: 3)", json!(3)),
        (&["sh", "-c", large], "sh failed (exit status: 3)", json!(3)),
        (&["sh", "-c", "echo half; kill -9 $$"], "sh failed (signal: 9", json!(null)),
        (&["sh", "-c", "echo all; exec >&-; exit 4"], "sh failed (exit status: 4)", json!(4)),
        (&["sh", "-c", "exec >&-; kill -TERM $$"], "sh failed (signal: 15", json!(null)),
        (&["true"], "true wrote nothing", json!(null)),
        (&["false"], "false failed (exit status: 1)", json!(1)),
        (&["/no/such/program", "s3cret"], "cannot start program: No such file", json!(null)),
        (&["no-such-program"], "cannot start no-such-program: No such file", json!(null)),
        (&[plain.to_str().unwrap()], "cannot start plain: Permission denied", json!(null)),
        (&["/"], "cannot start /: Permission denied", json!(null)),
    ] {
        let ran = run(&shell, words).await;
        let error = ran.error(74, "source_failed");
        assert!(error["message"].as_str().unwrap().contains(said), "{error}");
        assert_eq!(error["data"]["details"]["exit_code"], exit_code, "{error}");
        assert_eq!(error["data"]["kind"], "config");
        assert!(!ran.stderr.contains("s3cret") && !ran.stdout.contains("s3cret"), "{ran:?}");
        assert_empty(&server).await;
    }
}

#[tokio::test]
async fn from_command_output_held_open_by_other_process_is_refused() {
    let server = TestServer::start().await;
    let shell = Shell::of(&server);
    let words = ["sh", "-c", "echo half; sleep 1000 & echo $! >pid"];
    let error = run(&shell, &words).await.error(74, "source_failed");
    assert!(error["message"].as_str().unwrap().contains("keeps its output open"), "{error}");
    assert_empty(&server).await;
    let keeper = pid(&shell).unwrap();
    wait_until(async || !runs(|id, _| id == keeper)).await;
}

#[tokio::test]
async fn from_command_child_gets_no_secrets_and_no_open_files() {
    let server = TestServer::start().await;
    let shell = Shell::of(&server);
    let mut env = command(&shell, &["env"]);
    env.env("AWS_SECRET_ACCESS_KEY", "c4n4ry").env("AWS_SESSION_TOKEN", "c4n4ry");
    env.env("S3_BACKUP_AGENT_LATER", "c4n4ry").env("KEPT", "yes");
    shell.end(env).await.json(0);
    assert_eq!(shell.run(&[&"download", &"x", &"-o", &"env"]).await.code, 0);
    let env = std::fs::read_to_string(shell.path("env")).unwrap();
    assert!(env.contains("KEPT=yes\n") && env.contains("PATH="), "{env}");
    assert!(!env.contains("S3_BACKUP_AGENT") && !env.contains("c4n4ry"), "{env}");
    assert_eq!(shell.run(&[&"delete", &"x", &"--yes"]).await.code, 0);
    // The environment of the test run does not count.
    let usual = std::process::Command::new("ls").arg("/proc/self/fd").output().unwrap().stdout;
    let open = stored(&shell, &["ls", "/proc/self/fd"]).await;
    assert_eq!(String::from_utf8(open).unwrap(), String::from_utf8(usual).unwrap());
}

#[tokio::test]
async fn from_command_stderr_reaches_the_user() {
    let server = TestServer::start().await;
    let shell = Shell::of(&server);
    let ran = run(&shell, &["sh", "-c", "echo content; echo 'no such table' >&2; exit 1"]).await;
    assert!(ran.stderr.contains("no such table\n"), "{ran:?}");
    ran.error(74, "source_failed");
}

/// Whether such a process exists, by its id and group. A process that has ended may still wait for
/// its parent.
fn runs(is_it: impl Fn(Pid, Pid) -> bool) -> bool {
    let processes = std::fs::read_dir("/proc").unwrap().filter_map(|process| {
        let stat = std::fs::read_to_string(process.ok()?.path().join("stat")).ok()?;
        let (id, rest) = stat.split_once(" (")?;
        let mut rest = rest.rsplit_once(") ")?.1.split(' ');
        let (state, group) = (rest.next()?, rest.nth(1)?);
        let pid = |text: &str| Pid::from_raw(text.parse().ok()?);
        (state != "Z").then_some((pid(id)?, pid(group)?))
    });
    processes.into_iter().any(|(id, group)| is_it(id, group))
}

fn pid(shell: &Shell) -> Option<Pid> {
    let text = std::fs::read_to_string(shell.path("pid")).ok()?;
    Pid::from_raw(text.strip_suffix('\n')?.parse().ok()?)
}

#[tokio::test]
async fn from_command_signal_ends_all_child_processes() {
    let server = TestServer::start().await;
    let shell = Shell::of(&server);
    for script in [
        "yes & echo $$ >pid; wait",
        "sleep 1000 & echo $$ >pid; exec sleep 1000",
        // A process that refuses to end.
        "trap '' TERM INT PIPE; echo $$ >pid; while :; do sleep 1000; done",
        // A process whose output is complete.
        "echo all; exec >&-; echo $$ >pid; sleep 1000",
    ] {
        let _ = std::fs::remove_file(shell.path("pid"));
        let mut command = command(&shell, &["sh", "-c", script]);
        let child = command.spawn().unwrap();
        wait_until(async || pid(&shell).is_some()).await;
        let agent = Pid::from_raw(child.id().unwrap().try_into().unwrap()).unwrap();
        kill_process(agent, Signal::INT).unwrap();
        let output = child.wait_with_output().await.unwrap();
        assert_eq!(output.status.code(), Some(130), "{script}: {output:?}");
        assert_empty(&server).await;
        let group = pid(&shell).unwrap();
        wait_until(async || !runs(|_, other| other == group)).await;
    }
}

#[tokio::test]
async fn from_command_child_ends_when_upload_fails() {
    let server = TestServer::start().await;
    let shell = Shell::of(&server).set("BUCKET", "no-such-bucket");
    // Nothing is started before the server has answered.
    run(&shell, &["sh", "-c", "echo $$ >pid; yes"]).await.error(3, "bucket_not_found");
    assert_eq!(pid(&shell), None);
}

#[tokio::test]
async fn from_command_with_contradicting_arguments_is_refused() {
    let shell = Shell::with(Vec::new());
    for (words, said) in [
        (&["upload", "--from-command", "--json", "--", "true"][..], "has no name"),
        (&["upload", "--from-command", "--name", "x", "--json"], "needs a command"),
        (
            &["upload", "--from-command", "--name", "x", "--json", "f", "--", "true"],
            "leave the path out",
        ),
        (&["upload", "f", "--name", "x", "--json", "--", "true"], "--from-command only"),
        (&["upload", "--json"], "nothing to store"),
        (&["upload", "--from-command", "--resume", "--name", "x", "--json", "--", "true"], "--id"),
    ] {
        let words: Vec<_> = words.iter().map(|word| word as &dyn AsRef<OsStr>).collect();
        let error = shell.run(&words).await.error(64, "invalid_params");
        assert!(error["message"].as_str().unwrap().contains(said), "{error}");
    }
    // After two hyphens a path may start with one.
    shell.run(&[&"upload", &"--json", &"--", &"-missing"]).await.error(74, "local_io");
}
