//! What `--help` says below the options, and the shell completions and man pages made from it.

use std::io;

use clap::{Args, Command, CommandFactory as _};
use clap_complete::Shell;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, roman};

use super::Cli;
use super::exit::TABLE;
use super::output::say;
use crate::error::{Code, Error, Result};

const KEYS: &str = "\
Keys:
  The access key id, its secret and a session token are taken together from one place:
  S3_BACKUP_AGENT_ACCESS_KEY_ID (or --access-key-id), S3_BACKUP_AGENT_SECRET_ACCESS_KEY
  (or --secret-access-key-file) and S3_BACKUP_AGENT_SESSION_TOKEN (or --session-token-file),
  or else AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN. A secret that is in
  none of them is asked for on a terminal. It is never a flag: others could see it.

  The endpoint comes from --endpoint, S3_BACKUP_AGENT_ENDPOINT, AWS_ENDPOINT_URL_S3,
  AWS_ENDPOINT_URL, AWS_S3_ENDPOINT or AWS_ENDPOINT, the first one that is set; else it is AWS.
  AWS_REGION, AWS_DEFAULT_REGION and AWS_CA_BUNDLE count where nothing else is given. HTTPS_PROXY and NO_PROXY are honoured. Nothing is read from ~/.aws.";

const GENERAL: &str = "\
Examples:
  export S3_BACKUP_AGENT_ENDPOINT=https://s3.example.org S3_BACKUP_AGENT_BUCKET=backups
  export S3_BACKUP_AGENT_ACCESS_KEY_ID=... S3_BACKUP_AGENT_SECRET_ACCESS_KEY=...
  s3-backup-agent validate
  s3-backup-agent upload /backup/1a2b3c4d.tar
  s3-backup-agent list
  s3-backup-agent download 1a2b3c4d -o /restore/";

const SERVE: &str = "\
The settings of the storage come from the host, in its first messages. A host starts this program
as a child process and talks to it over stdin and stdout; logs go to stderr as JSON.

Examples:
  s3-backup-agent serve --protocol";

const VALIDATE: &str = "\
Examples:
  s3-backup-agent validate --endpoint https://s3.example.org --bucket backups
  s3-backup-agent validate --read-only --json";

const UPLOAD: &str = "\
A file must keep its length while it is read: one that shrinks or grows is refused.

A folder is stored as a tar. A file that grows is stored with the length it had when its turn came. A
file or folder that cannot be read, or that vanishes meanwhile, is left out and named on standard error.
A file that shrinks while it is read is filled up with zeros and named. After any of these the backup is
stored and the exit code is 10. Sockets, pipes and devices are left out, named, and do not change the
exit code. With --json, left_out has the counts and the first 20 names.

With --from-command, the backup is stored only if the command ends with exit code 0. If the command
fails, nothing is stored. It does not get the environment variables S3_BACKUP_AGENT_*,
AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN.

Examples:
  s3-backup-agent upload /backup/1a2b3c4d.tar
  s3-backup-agent upload photos.zip --name \"Photos 2026\"
  s3-backup-agent upload /config --name config --id config --replace
  s3-backup-agent upload --from-command --name Database -- pg_dump home
  s3-backup-agent upload large.tar --name large --id large --resume";

const LIST: &str = "\
Examples:
  s3-backup-agent list
  s3-backup-agent list --json | jq -r '.backups[].id'";

const INFO: &str = "\
Examples:
  s3-backup-agent info 1a2b3c4d
  s3-backup-agent info \"Photos 2026\" --json";

const DOWNLOAD: &str = "\
The file appears under its name when every byte is there and checked, and not before.

Examples:
  s3-backup-agent download 1a2b3c4d
  s3-backup-agent download \"Photos 2026\" -o /restore/photos.zip --force
  s3-backup-agent download 1a2b3c4d -o - | tar -tv";

const VERIFY: &str = "\
Every byte is read and compared with the checksums that were stored with the backup. Backups that
other tools wrote have none: they are read to their end, and their length is compared. With --json
there is a line for each backup.

Examples:
  s3-backup-agent verify 1a2b3c4d
  s3-backup-agent verify --all
  s3-backup-agent verify --all --quick --json | jq 'select(.error)'";

const DELETE: &str = "\
Examples:
  s3-backup-agent delete 1a2b3c4d
  s3-backup-agent delete \"Photos 2026\" --yes";

const CLEANUP: &str = "\
What this machine's own uploads have left when they were killed is taken back with the next upload;
this finds the rest by its age. Uploads that run on this machine are left alone.

Examples:
  s3-backup-agent cleanup --dry-run
  s3-backup-agent cleanup --older-than 7d";

const REPAIR: &str = "\
A backup is an archive and its metadata. An archive of Home Assistant whose metadata is lost gets new
metadata from what it says of itself. There are no checksums in it, so that later damage shows in the
length only. Archives that somebody is storing are left alone.

Examples:
  s3-backup-agent repair --dry-run
  s3-backup-agent repair";

const COMPLETIONS: &str = "\
Examples:
  s3-backup-agent completions bash > ~/.local/share/bash-completion/completions/s3-backup-agent
  s3-backup-agent completions fish > ~/.config/fish/completions/s3-backup-agent.fish";

const MAN: &str = "\
Examples:
  s3-backup-agent man | man -l -
  s3-backup-agent man upload | man -l -";

const DEMO: &str = "\
Examples:
  s3-backup-agent demo
  s3-backup-agent demo --size 200M
  s3-backup-agent demo --serve";

/// Prints a script that completes the command line.
#[derive(Args, Clone, Debug)]
pub struct Completions {
    /// The shell.
    shell: Shell,
}

/// Prints a man page.
#[derive(Args, Clone, Debug)]
pub struct Page {
    /// Command to print the page of. Default: the page of the program.
    command: Option<String>,
}

/// What stands below the options of a command, and whether it is about a target.
fn below(command: &str) -> (&'static str, bool) {
    match command {
        "serve" => (SERVE, false),
        "validate" => (VALIDATE, true),
        "upload" => (UPLOAD, true),
        "list" => (LIST, true),
        "info" => (INFO, true),
        "download" => (DOWNLOAD, true),
        "verify" => (VERIFY, true),
        "delete" => (DELETE, true),
        "cleanup" => (CLEANUP, true),
        "repair" => (REPAIR, true),
        "demo" => (DEMO, false),
        "completions" => (COMPLETIONS, false),
        "man" => (MAN, false),
        _ => (GENERAL, false),
    }
}

fn exit_codes() -> String {
    let mut text = "Exit codes:".to_owned();
    for (exit, meaning) in TABLE {
        text.push_str(&format!("\n  {:>3}  {meaning}", exit.number()));
    }
    text
}

/// The whole command line, with everything that help says.
#[must_use]
pub fn command() -> Command {
    let command = Cli::command().mut_subcommands(|command| {
        let (text, with_target) = below(command.get_name());
        let long = if with_target { format!("{text}\n\n{KEYS}") } else { text.to_owned() };
        command.after_help(text).after_long_help(long)
    });
    command
        .after_help(format!(
            "{GENERAL}\n\nSee --help for exit codes, and `COMMAND --help` for settings."
        ))
        .after_long_help(format!("{GENERAL}\n\n{KEYS}\n\n{}", exit_codes()))
}

/// Prints completions.
///
/// # Errors
/// `local_io`.
pub(super) fn completions(options: &Completions) -> Result<()> {
    let mut script = Vec::new();
    let mut command = Cli::command();
    clap_complete::generate(options.shell, &mut command, env!("CARGO_PKG_NAME"), &mut script);
    say(String::from_utf8_lossy(&script).trim_end())
}

/// Prints a man page.
///
/// # Errors
/// `invalid_params` for an unknown command; `local_io`.
pub(super) fn man(options: &Page) -> Result<()> {
    let mut whole = Cli::command();
    whole.build();
    let (page, sections) = match &options.command {
        None => (whole, vec![GENERAL.to_owned(), KEYS.to_owned(), exit_codes()]),
        Some(name) => {
            let Some(page) = whole.find_subcommand(name) else {
                let message = format!("there is no command \"{name}\": see s3-backup-agent --help");
                return Err(Error::new(Code::InvalidParams, message).field("command"));
            };
            let (text, with_target) = below(name);
            let keys = with_target.then(|| KEYS.to_owned());
            (
                page.clone(),
                std::iter::once(text.to_owned()).chain(keys).chain([exit_codes()]).collect(),
            )
        }
    };
    let page = render(page, &sections).map_err(|error| {
        Error::new(Code::Internal, "the man page cannot be written").source(error)
    })?;
    say(page)
}

fn render(command: Command, sections: &[String]) -> io::Result<String> {
    let has_commands = command.has_subcommands();
    let man = Man::new(command)
        .source(concat!("s3-backup-agent ", env!("CARGO_PKG_VERSION")))
        .manual("User Commands");
    let mut page = Vec::new();
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    man.render_options_section(&mut page)?;
    if has_commands {
        man.render_subcommands_section(&mut page)?;
    }
    for section in sections {
        section_of(section).to_writer(&mut page)?;
    }
    // Each of these pieces defines the apostrophe anew.
    let page = String::from_utf8_lossy(&page);
    Ok(format!("{APOSTROPHE}{}", page.replace(APOSTROPHE, "").trim_end()))
}

/// How roff is told what an apostrophe is.
const APOSTROPHE: &str = ".ie \\n(.g .ds Aq \\(aq\n.el .ds Aq '\n";

/// Sections as they stand in help: a line that ends in a colon is a heading. Lines keep their
/// breaks.
fn section_of(text: &str) -> Roff {
    let mut roff = Roff::new();
    for (index, paragraph) in text.split("\n\n").enumerate() {
        let mut lines = paragraph.lines().peekable();
        if let Some(heading) = lines.next_if(|line| line.ends_with(':') && !line.starts_with(' ')) {
            roff.control("SH", [heading.trim_end_matches(':').to_uppercase().as_str()]);
        } else if index == 0 {
            roff.control("SH", ["NOTES"]);
        } else {
            roff.control("PP", []);
        }
        roff.control("nf", []);
        for line in lines {
            roff.text([roman(line.strip_prefix("  ").unwrap_or(line))]);
        }
        roff.control("fi", []);
    }
    roff
}
