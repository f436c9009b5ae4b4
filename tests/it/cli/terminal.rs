//! A terminal with a person who answers questions.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::process::Stdio;
use std::time::Duration;

use rustix::fs::{Mode, OFlags, open};
use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, tcgetattr};
use tokio::process::Command;

use super::Shell;
use super::storages::CANARY;
use crate::support::agent_command;

/// What a person types for Ctrl-C, and for Ctrl-D in an empty line.
pub(super) const CTRL_C: &str = "\u{3}";
pub(super) const CTRL_D: &str = "\u{4}";

/// Stands for a signal from elsewhere.
pub(super) const SIGTERM: &str = "SIGTERM";

/// Longest time that a command takes.
const LIMIT: Duration = Duration::from_secs(60);

/// How a command on a terminal ended.
#[derive(Debug)]
pub(super) struct Ended {
    /// The exit code; none for one that a signal ended.
    pub(super) code: Option<i32>,
    pub(super) shown: String,
    /// Whether the terminal shows what is typed after it.
    pub(super) echoes: bool,
    /// How many of the questions were asked.
    pub(super) asked: usize,
}

/// Runs a command line without blanks in its words on a terminal of its own. When a question is shown, its
/// answer is typed. The canary is typed where the terminal does not show it, and nowhere else.
pub(super) async fn answer(shell: &Shell, line: &str, answers: &[(&str, &str)]) -> Ended {
    answer_after(shell, line, answers, |_| {}).await
}

/// As [`answer`], and does something when a question is shown.
pub(super) async fn answer_after(
    shell: &Shell,
    line: &str,
    answers: &[(&str, &str)],
    before: impl Fn(&str) + Send + 'static,
) -> Ended {
    let terminal = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&terminal).unwrap();
    unlockpt(&terminal).unwrap();
    let name = ptsname(&terminal, Vec::new()).unwrap();
    let inside = || Stdio::from(open(&name, OFlags::RDWR | OFlags::NOCTTY, Mode::empty()).unwrap());
    let mut command = Command::new("setsid");
    command.args(["--ctty", "--wait"]).arg(agent_command()).args(line.split(' '));
    command.env_clear().envs(shell.env.iter().cloned()).current_dir(shell.folder.path());
    command.stdin(inside()).stdout(inside()).stderr(inside()).kill_on_drop(true);
    let mut child = command.spawn().unwrap();
    // The child holds the other end of the terminal, whose end is the end of the child.
    drop(command);
    let to_owned = |(question, answer): &(&str, &str)| (question.to_string(), answer.to_string());
    let answers: Vec<_> = answers.iter().map(to_owned).collect();
    let pid = Pid::from_raw(child.id().unwrap().try_into().unwrap()).unwrap();
    let typing =
        tokio::task::spawn_blocking(move || type_answers(terminal.into(), pid, &answers, before));
    let status = tokio::time::timeout(LIMIT, child.wait()).await.expect("it ends").unwrap();
    let ended = Ended { code: status.code(), ..typing.await.unwrap() };
    assert!(!ended.shown.contains(CANARY), "{ended:?}");
    ended
}

fn type_answers(
    mut terminal: File,
    pid: Pid,
    answers: &[(String, String)],
    before: impl Fn(&str),
) -> Ended {
    let mut answers = answers.iter().peekable();
    let (mut shown, mut chunk, mut from, mut asked) = (Vec::new(), [0; 4096], 0, 0);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    // The end of a terminal is an error on Linux.
    while let Ok(count @ 1..) = terminal.read(&mut chunk) {
        shown.extend_from_slice(&chunk[..count]);
        let is_asked = |(question, _): &&(String, String)| text(&shown[from..]).contains(question);
        let Some((question, answer)) = answers.next_if(is_asked) else { continue };
        (from, asked) = (shown.len(), asked + 1);
        before(question);
        if question.contains("ecret access key") {
            while tcgetattr(&terminal).unwrap().local_modes.contains(LocalModes::ECHO) {
                std::thread::sleep(Duration::from_millis(2));
            }
        }
        if answer == SIGTERM {
            kill_process(pid, Signal::TERM).unwrap();
            continue;
        }
        let end = if [CTRL_C, CTRL_D].contains(&answer.as_str()) { "" } else { "\n" };
        write!(terminal, "{answer}{end}").unwrap();
    }
    let echoes = tcgetattr(&terminal).unwrap().local_modes.contains(LocalModes::ECHO);
    Ended { code: None, shown: text(&shown), echoes, asked }
}
