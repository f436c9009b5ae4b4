//! The operations of an agent, how many requests each may make, and whether its result is right.

use std::collections::BTreeSet;

use s3_backup_agent::demo::host::{Answer, Host};
use serde_json::{Value, json};

use crate::e2e::backup;
use crate::random_data::RandomData;
use crate::support::TestServer;

const MIB: u64 = 1 << 20;

/// Of the backup that exists before.
pub(super) const SIZE: u64 = MIB;

/// More requests than docs/costs.md counts, for retries after failures.
const REPETITIONS: usize = 20;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operation {
    Validate,
    List,
    Get,
    Small,
    Parts,
    Download,
    Quick,
    Full,
    Cleanup,
    Repair,
    Delete,
}

impl Operation {
    /// In an order in which each operation finds the data that it needs.
    pub(super) const ALL: [Self; 11] = [
        Self::Validate,
        Self::List,
        Self::Get,
        Self::Small,
        Self::Parts,
        Self::Download,
        Self::Quick,
        Self::Full,
        Self::Cleanup,
        Self::Repair,
        Self::Delete,
    ];

    /// The most requests with `documents` metadata objects that the agent does not know yet, when
    /// each request has to be made this many times.
    pub(super) fn most_requests(self, documents: usize, tries: usize) -> usize {
        let counted = match self {
            Self::Validate => 18,
            Self::List | Self::Get => 1 + documents,
            Self::Small => 7 + documents,
            Self::Parts => 12 + documents,
            Self::Download | Self::Full => 11 + documents,
            Self::Quick => 3 + documents,
            Self::Cleanup => 2 + documents,
            Self::Repair => 3 + documents,
            Self::Delete => 4 + documents,
        };
        counted * tries + REPETITIONS
    }

    fn size(self) -> u64 {
        if self == Self::Parts { 21 * MIB } else { SIZE }
    }

    /// The name of the backup that it stores.
    fn stores(self) -> Option<&'static str> {
        match self {
            Self::Small => Some("small"),
            Self::Parts => Some("parts"),
            _ => None,
        }
    }

    /// Runs it with the target `t1`.
    pub(super) async fn run(self, host: &Host) -> (Answer, Vec<u8>) {
        let target = json!({"target": "t1"});
        let of_b = json!({"target": "t1", "backup_id": "b"});
        let verify = |level| json!({"target": "t1", "backup_id": "b", "level": level});
        let mut content = Vec::new();
        let answer = match self {
            Self::Validate => host.call("target.validate", target).await,
            Self::List => list(host).await,
            Self::Get => host.call("backup.get", of_b).await,
            Self::Small | Self::Parts => {
                let (id, size) = (self.stores().unwrap(), self.size());
                host.upload("t1", backup(id), json!({"size": size}), RandomData::new(2, size)).await
            }
            Self::Download => {
                let take = |bytes: &[u8]| content.extend_from_slice(bytes);
                host.download("t1", "b", json!({}), 4 << 20, take).await
            }
            Self::Quick => host.call("backup.verify", verify("quick")).await,
            Self::Full => host.call("backup.verify", verify("full")).await,
            Self::Cleanup => host.call("target.cleanup", target).await,
            Self::Repair => {
                host.call("target.repair", json!({"target": "t1", "dry_run": true})).await
            }
            Self::Delete => host.call("backup.delete", of_b).await,
        };
        (answer, content)
    }
}

/// All pages of a listing in one.
async fn list(host: &Host) -> Answer {
    let first = json!({"target": "t1", "refresh": true});
    let mut listed = host.call("backup.list", first).await?;
    while let Some(cursor) = listed["next"].as_str() {
        let params = json!({"target": "t1", "cursor": cursor});
        let mut page = host.call("backup.list", params).await?;
        for member in ["backups", "skipped"] {
            let more = page[member].as_array_mut().map(std::mem::take).unwrap_or_default();
            if let Some(all) = listed[member].as_array_mut() {
                all.extend(more);
            }
        }
        listed["next"] = page["next"].take();
    }
    Ok(listed)
}

/// The known content of the bucket.
pub(super) struct Expectation {
    /// Ids of stored backups that are not deleted.
    pub(super) ids: BTreeSet<String>,
    /// Whether listings are true, or false in a way that the agent cannot notice.
    pub(super) listings: bool,
}

impl Expectation {
    pub(super) fn new(listings: bool) -> Self {
        Self { ids: ["b".to_owned()].into(), listings }
    }

    /// What is wrong with an outcome; nothing when all is well.
    pub(super) async fn check_result(
        &mut self,
        operation: Operation,
        answer: &Answer,
        content: &[u8],
        server: &TestServer,
    ) -> Option<String> {
        if content != RandomData::new(1, SIZE).bytes(content.len()) {
            return Some(format!("{} bytes, not those that were stored", content.len()));
        }
        let result = match answer {
            Ok(result) => result,
            Err(error) => {
                let message = &error.message;
                let is_sound = error.data.code != "internal" && error.data.code != "agent_gone";
                let is_short = !message.is_empty() && message.len() <= 2048;
                let is_clean = !message.contains(char::is_control);
                let names = |detail| error.data.details.contains_key(detail);
                let is_named =
                    error.data.code != "remote_error" || names("member") || names("status");
                let is_right = is_sound && is_short && is_clean && is_named;
                return (!is_right).then(|| format!("{error:?}"));
            }
        };
        let wrong = match operation {
            Operation::List => self.listings && !self.has_all(result),
            Operation::Get => result["backup"]["id"] != "b",
            Operation::Download => content.len() as u64 != SIZE,
            Operation::Small | Operation::Parts => {
                self.ids.insert(operation.stores().unwrap().to_owned());
                !is_stored(server, operation).await
            }
            Operation::Delete => {
                self.ids.remove("b");
                false
            }
            Operation::Validate
            | Operation::Quick
            | Operation::Full
            | Operation::Cleanup
            | Operation::Repair => false,
        };
        wrong.then(|| format!("{result}"))
    }

    /// Whether a listing names each backup, possibly among the skipped objects.
    fn has_all(&self, listed: &Value) -> bool {
        let backups = listed["backups"].as_array().unwrap();
        let named: BTreeSet<_> = backups.iter().filter_map(|it| it["id"].as_str()).collect();
        let skipped = listed["skipped"].to_string();
        self.ids
            .iter()
            .all(|id| named.contains(id.as_str()) || skipped.contains(&format!("/Backup {id}.")))
    }

    /// What is wrong with the final content of the bucket.
    pub(super) async fn check_bucket(&self, server: &TestServer) -> Option<String> {
        if !self.ids.contains("b") {
            return None;
        }
        let archive = server.get("t1/backups/Backup b.tar").await;
        let document = server.get("t1/backups/Backup b.metadata.json").await;
        if archive.is_some_and(|archive| archive == RandomData::new(1, SIZE).bytes(SIZE as usize))
            && document.is_some()
        {
            return None;
        }
        Some("the existing backup is missing or damaged".to_owned())
    }
}

/// Whether an upload that was reported as stored is stored.
async fn is_stored(server: &TestServer, operation: Operation) -> bool {
    let id = operation.stores().unwrap();
    let archive = server.get(&format!("t1/backups/Backup {id}.tar")).await;
    let right = RandomData::new(2, operation.size()).bytes(operation.size() as usize);
    let document = server.get(&format!("t1/backups/Backup {id}.metadata.json")).await;
    archive.is_some_and(|archive| archive == right) && document.is_some()
}
