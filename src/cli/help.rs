//! `--help`, `help`, completions and man pages.

use std::io::{self, IsTerminal as _};

use clap::{Arg, Args, Command, CommandFactory as _};
use clap_complete::Shell;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, roman};

use super::exit::TABLE;
use super::output::say;
use super::{Cli, StateOptions, TargetOptions};
use crate::error::{Code, Error, Result};

const KEYS: &str = "\
Config file:
  With -t NAME the settings come from the config file, and these options only
  change limits and the like. `s3-backup-agent config -h` shows more.

Access keys:
  The access key ID, the secret access key and the session token come from the
  same place: S3_BACKUP_AGENT_ACCESS_KEY_ID (or --access-key-id),
  S3_BACKUP_AGENT_SECRET_ACCESS_KEY (or --secret-access-key-file) and
  S3_BACKUP_AGENT_SESSION_TOKEN (or --session-token-file), otherwise
  AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN. If the
  secret is in none of them, you are asked on a terminal. It is never a flag,
  because other users can read flags.

Other variables:
  Without --endpoint and S3_BACKUP_AGENT_ENDPOINT, the first of these counts:
  AWS_ENDPOINT_URL_S3, AWS_ENDPOINT_URL, AWS_S3_ENDPOINT, AWS_ENDPOINT.
  Without any, the endpoint is AWS. AWS_REGION, AWS_DEFAULT_REGION and
  AWS_CA_BUNDLE count where no flag is given. HTTPS_PROXY, HTTP_PROXY,
  ALL_PROXY and NO_PROXY name a proxy. Nothing is read from ~/.aws.";

const GENERAL: &str = "\
Examples:
  export S3_BACKUP_AGENT_ENDPOINT=https://s3.example.org S3_BACKUP_AGENT_BUCKET=backups
  export S3_BACKUP_AGENT_ACCESS_KEY_ID=... S3_BACKUP_AGENT_SECRET_ACCESS_KEY=...
  s3-backup-agent validate
  s3-backup-agent upload /backup/1a2b3c4d.tar
  s3-backup-agent list
  s3-backup-agent download 1a2b3c4d -o /restore/";

/// Shown below the options of `serve`.
pub(super) const SERVE: &str = "\
The host program starts this command as a child process, opens targets and
sends requests over stdin. Logs go to stderr as JSON.

Examples:
  s3-backup-agent serve --protocol";

const COMPLETIONS: &str = "\
Examples:
  s3-backup-agent completions bash > ~/.local/share/bash-completion/completions/s3-backup-agent
  s3-backup-agent completions fish > ~/.config/fish/completions/s3-backup-agent.fish";

const MAN: &str = "\
Examples:
  s3-backup-agent man | man -l -
  s3-backup-agent man upload | man -l -";

const HELP: &str = "\
Examples:
  s3-backup-agent help upload
  s3-backup-agent help storage";

/// The topic of `help` that is no command.
const STORAGE: &str = "storage";

/// Prints a completion script for a shell.
#[derive(Args, Clone, Debug)]
#[command(after_help = COMPLETIONS)]
pub struct Completions {
    /// The shell.
    shell: Shell,
}

/// Prints a man page.
#[derive(Args, Clone, Debug)]
#[command(after_help = MAN)]
pub struct Page {
    /// Command to print the page of. Default: the page of the program.
    command: Option<String>,
}

/// Prints help.
#[derive(Args, Clone, Debug)]
#[command(after_help = HELP)]
pub struct Topic {
    /// A command, such as `list` or `config add`, or `storage` for the options of the server, the keys and
    /// the limits.
    topic: Vec<String>,
}

/// The flags of [`TargetOptions`] and [`StateOptions`] alone.
#[derive(Args, Clone, Debug)]
struct Storage {
    #[command(flatten)]
    target: TargetOptions,
    #[command(flatten)]
    state: StateOptions,
}

fn exit_codes() -> String {
    let mut text = "Exit codes:".to_owned();
    for (exit, meaning) in TABLE {
        text.push_str(&format!("\n  {:>3}  {meaning}", exit.number()));
    }
    text
}

fn has_storage_options(command: &Command) -> bool {
    command.get_arguments().any(|argument| argument.get_id() == "endpoint")
}

/// The text below the options of a command.
fn below(command: &Command) -> String {
    command.get_after_help().map(ToString::to_string).unwrap_or_default()
}

/// The whole command line, with everything that help says.
#[must_use]
pub fn command() -> Command {
    let command = Cli::command().mut_subcommands(|command| {
        if !has_storage_options(&command) {
            return command;
        }
        let text = below(&command);
        let short =
            "Options of the server, the keys and the limits: `s3-backup-agent help storage`";
        command
            .after_help(format!("{text}\n\n{short}"))
            .after_long_help(format!("{text}\n\n{KEYS}"))
    });
    command
        .after_help("See `--help` for examples and exit codes, and `help COMMAND` for a command.")
        .after_long_help(format!("{GENERAL}\n\n{}", exit_codes()))
}

/// Prints the help of a command, or the storage options.
///
/// # Errors
/// `invalid_params` for an unknown topic; `local_io`.
pub(super) fn help(options: &Topic) -> Result<()> {
    let mut whole = command();
    whole.build();
    let topic: Vec<_> = options.topic.iter().map(String::as_str).collect();
    let mut page = match topic.as_slice() {
        [STORAGE] => storage(),
        names => {
            let found =
                names.iter().try_fold(&whole, |command, name| command.find_subcommand(name));
            found.cloned().ok_or_else(|| unknown(&names.join(" ")))?
        }
    };
    let text = page.render_long_help();
    let text = if io::stdout().is_terminal() { text.ansi().to_string() } else { text.to_string() };
    say(text.trim_end())
}

/// A command that has the storage options and no others.
fn storage() -> Command {
    Storage::augment_args(Command::new("s3-backup-agent COMMAND"))
        .about("Options that every command has that works on a bucket")
        .disable_help_flag(true)
        .mut_args(|argument: Arg| argument.hide_short_help(false))
        .after_long_help(KEYS)
}

fn unknown(name: &str) -> Error {
    Error::new(Code::InvalidParams, format!("there is no command \"{name}\""))
        .hint("see `s3-backup-agent --help`")
        .field("command")
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
            let page = whole.find_subcommand(name).ok_or_else(|| unknown(name))?.clone();
            let keys = has_storage_options(&page).then(|| KEYS.to_owned());
            let sections = std::iter::once(below(&page)).chain(keys).chain([exit_codes()]);
            let sections = sections.filter(|text| !text.is_empty()).collect();
            (page, sections)
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
