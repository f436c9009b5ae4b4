//! Entries of a folder that are missing or damaged in its backup.

use std::io;

use serde::Serialize;

use crate::error::shortened;

/// Most names that are reported. A folder may have millions of unreadable entries.
const MAX_NAMES: usize = 20;

/// Longest name that is reported, in bytes.
const LONGEST: usize = 300;

/// Counts of left out entries by reason, and the first names.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct LeftOut {
    /// Entries that were gone or replaced when their turn came.
    vanished: u64,
    /// Entries that could not be read.
    unreadable: u64,
    /// Files that shrank or failed while they were read; the rest is padded with zeros.
    damaged: u64,
    /// Sockets, pipes and devices, which have no content to store.
    special: u64,
    /// The first names.
    names: Vec<Named>,
}

#[derive(Clone, Debug, Serialize)]
struct Named {
    name: String,
    reason: String,
}

impl LeftOut {
    /// Counts an entry that could not be opened.
    pub(super) fn failed(&mut self, name: &[u8], error: &io::Error) {
        if is_gone(error) {
            self.vanished(name, 1);
        } else {
            self.unreadable += 1;
            self.name(name, &error.to_string());
        }
    }

    /// Counts `count` entries that were gone.
    pub(super) fn vanished(&mut self, name: &[u8], count: u64) {
        self.vanished += count;
        self.name(name, "it was removed or replaced while the folder was packed");
    }

    /// Counts an entry that cannot be stored.
    pub(super) fn unreadable(&mut self, name: &[u8], reason: &str) {
        self.unreadable += 1;
        self.name(name, reason);
    }

    /// Counts a file that is stored with zeros in it.
    pub(super) fn damaged(&mut self, name: &[u8], reason: &str) {
        self.damaged += 1;
        self.add(name, "is damaged in the backup", reason);
    }

    /// Counts an entry without content.
    pub(super) fn special(&mut self, name: &[u8]) {
        self.special += 1;
        self.name(name, "it is not a file, folder or link");
    }

    fn name(&mut self, name: &[u8], reason: &str) {
        self.add(name, "is left out", reason);
    }

    fn add(&mut self, name: &[u8], what: &str, reason: &str) {
        if self.names.len() == MAX_NAMES {
            return;
        }
        let name = shortened(&String::from_utf8_lossy(name), LONGEST);
        tracing::warn!("{name} {what}: {reason}");
        self.names.push(Named { name, reason: reason.to_owned() });
    }

    /// Whether the backup lacks content that it should have.
    pub(crate) fn is_incomplete(&self) -> bool {
        self.vanished + self.unreadable + self.damaged > 0
    }

    /// The first reason, for an error message.
    pub(super) fn first_reason(&self) -> &str {
        self.names.first().map_or("", |named| &named.reason)
    }

    /// The counts as text; None if nothing was left out.
    pub(crate) fn summary(&self) -> Option<String> {
        let counts = [
            (self.unreadable, "could not be read", "could not be read"),
            (self.vanished, "vanished", "vanished"),
            (
                self.damaged,
                "changed while being read and is damaged",
                "changed while being read and are damaged",
            ),
            (self.special, "is a socket, pipe or device", "are sockets, pipes or devices"),
        ];
        let said = counts.iter().filter(|(count, ..)| *count > 0);
        let said: Vec<_> = said
            .map(|(count, one, many)| format!("{count} {}", if *count == 1 { one } else { many }))
            .collect();
        (!said.is_empty()).then(|| said.join(", "))
    }
}

/// Whether the entry is gone or was replaced.
fn is_gone(error: &io::Error) -> bool {
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => true,
        #[cfg(unix)]
        _ => {
            use rustix::io::Errno;
            // The error codes for a link, and for a socket.
            let replaced = [Errno::LOOP, Errno::NXIO].map(Errno::raw_os_error);
            error.raw_os_error().is_some_and(|code| replaced.contains(&code))
        }
        #[cfg(not(unix))]
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn summary_tells_one_from_several() {
        let summary = |unreadable, vanished, damaged, special| {
            LeftOut { unreadable, vanished, damaged, special, names: Vec::new() }.summary()
        };
        assert_eq!(summary(0, 0, 0, 0), None);
        assert_eq!(
            summary(1, 1, 1, 1).unwrap(),
            "1 could not be read, 1 vanished, 1 changed while being read and is damaged, 1 is a \
             socket, pipe or device"
        );
        assert_eq!(
            summary(2, 2, 2, 2).unwrap(),
            "2 could not be read, 2 vanished, 2 changed while being read and are damaged, 2 are \
             sockets, pipes or devices"
        );
    }
}
