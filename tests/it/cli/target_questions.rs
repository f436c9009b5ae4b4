//! Questions about several targets, on a terminal.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::process::Stdio;

use rustix::fs::{Mode, OFlags, open};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

use super::storages::Storages;
use crate::support::TestServer;

/// Runs a command line on a terminal, and types the answer when a question is asked. Returns the exit code and
/// what the terminal shows.
async fn on_terminal(storages: &Storages, line: &str, answer: &'static str) -> (i32, String) {
    let terminal = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&terminal).unwrap();
    unlockpt(&terminal).unwrap();
    let name = ptsname(&terminal, Vec::new()).unwrap();
    let inside = || Stdio::from(open(&name, OFlags::RDWR | OFlags::NOCTTY, Mode::empty()).unwrap());
    let words: Vec<_> = line.split(' ').collect();
    let words: Vec<_> = words.iter().map(|word| word as &dyn AsRef<std::ffi::OsStr>).collect();
    let mut command = storages.shell.command(&words);
    command.stdin(inside()).stdout(inside()).stderr(inside());
    let mut child = command.spawn().unwrap();
    // It holds the other end of the terminal, whose end is the end of the child.
    drop(command);
    let mut terminal = File::from(terminal);
    let shown = tokio::task::spawn_blocking(move || {
        let (mut shown, mut chunk, mut is_asked) = (Vec::new(), [0; 4096], false);
        // The end of a terminal is an error on Linux.
        while let Ok(count @ 1..) = terminal.read(&mut chunk) {
            shown.extend_from_slice(&chunk[..count]);
            if !is_asked && String::from_utf8_lossy(&shown).contains("[y/N]") {
                is_asked = true;
                writeln!(terminal, "{answer}").unwrap();
            }
        }
        String::from_utf8_lossy(&shown).into_owned()
    });
    let code = child.wait().await.unwrap().code().unwrap_or(-1);
    (code, shown.await.unwrap())
}

async fn two() -> (TestServer, TestServer, Storages) {
    let (one, other) = (TestServer::embedded().await, TestServer::embedded().await);
    let storages = Storages::of(&[("nas", &one), ("cloud", &other)]);
    storages.shell.write("photos", "content");
    assert_eq!(storages.run("upload photos --id p --all-targets").await.code, 0);
    (one, other, storages)
}

#[tokio::test]
async fn delete_on_several_targets_asks_once() {
    let (one, other, storages) = two().await;
    for answer in ["n", "", "no", "maybe"] {
        let (code, shown) = on_terminal(&storages, "delete p --all-targets", answer).await;
        assert_eq!(code, 1, "{shown}");
        assert!(shown.contains("Nothing was deleted."), "{shown}");
        assert_eq!((one.objects().await.len(), other.objects().await.len()), (2, 2));
    }
    let (code, shown) = on_terminal(&storages, "delete p --all-targets", "y").await;
    assert_eq!(code, 0, "{shown}");
    assert_eq!(shown.matches("[y/N]").count(), 1, "{shown}");
    assert!(
        shown.contains("ID p) from nas, and photos (") && shown.contains("from cloud? [y/N]"),
        "{shown}"
    );
    assert!(
        shown.contains("nas: Deleted photos (") && shown.contains("cloud: Deleted "),
        "{shown}"
    );
    assert_eq!((one.objects().await, other.objects().await), (vec![], vec![]));
}

#[tokio::test]
async fn delete_asks_only_about_targets_that_have_the_backup() {
    let (one, other, storages) = two().await;
    assert_eq!(storages.run("delete p -t nas --yes").await.code, 0);
    let (code, shown) = on_terminal(&storages, "delete p --all-targets", "y").await;
    assert_eq!(code, 10, "{shown}");
    assert!(shown.contains("from cloud? [y/N]") && !shown.contains("from nas"), "{shown}");
    assert!(shown.contains("nas: there is no backup"), "{shown}");
    // There is nothing to ask about any more.
    let (code, shown) = on_terminal(&storages, "delete p --all-targets", "y").await;
    assert_eq!(code, 3, "{shown}");
    assert!(!shown.contains("[y/N]"), "{shown}");
    assert_eq!((one.objects().await, other.objects().await), (vec![], vec![]));
}

#[tokio::test]
async fn delete_without_a_terminal_needs_yes() {
    let (one, other, storages) = two().await;
    let ran = storages.run("delete p --all-targets").await;
    assert_eq!(ran.code, 64, "{ran:?}");
    assert!(ran.stderr.contains("--yes"), "{ran:?}");
    assert_eq!((one.objects().await.len(), other.objects().await.len()), (2, 2));
}
