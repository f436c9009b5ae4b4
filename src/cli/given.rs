//! Flags as opposed to variables: clap gives both as the same value.

use clap::ArgMatches;
use clap::parser::ValueSource;

/// What was given as a flag, as opposed to a variable.
#[derive(Clone, Debug, Default)]
pub(super) struct Given(Vec<String>);

impl Given {
    /// The flags of the command.
    pub(super) fn of(matches: &ArgMatches) -> Self {
        let command = matches.subcommand().map(|(_, matches)| matches);
        let ids = std::iter::once(matches).chain(command).flat_map(|matches| {
            matches.ids().map(clap::Id::as_str).filter(|id| {
                // Groups have no source.
                matches.try_contains_id(id).is_ok()
                    && matches.value_source(id) == Some(ValueSource::CommandLine)
            })
        });
        Self(ids.map(str::to_owned).collect())
    }

    /// Whether this flag was given.
    pub(super) fn has(&self, id: &str) -> bool {
        self.0.iter().any(|given| given == id)
    }

    /// Whether a flag was given in place of this setting of a target.
    pub(super) fn replaces(&self, setting: &str) -> bool {
        self.has(match setting {
            "ca_certificate" => "ca_file",
            "verify_tls" => "insecure_skip_tls_verify",
            setting => setting,
        })
    }
}
