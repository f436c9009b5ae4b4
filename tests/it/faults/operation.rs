//! The operations, each with the request that the faults affect.

use http::Method;
use http::request::Parts;
use s3_backup_agent::demo::host::{Answer, Host};
use serde_json::{Value, json};

use crate::connection::recorded_request::part;
use crate::e2e::{backup, connect, store};
use crate::random_data::RandomData;
use crate::support::TestServer;

const MIB: u64 = 1 << 20;

/// Long enough for everything that makes progress, on a busy machine too.
const DEADLINE_MS: u64 = 8000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operation {
    /// An upload in one request; faults affect the request of the archive.
    Small,
    /// An upload in parts; faults affect the second part.
    Parts,
    /// A download of one piece; faults affect the request of the archive.
    Download,
    List,
    /// Faults affect the request of the metadata object.
    Delete,
    /// Faults affect the request of the test object.
    Validate,
}

impl Operation {
    pub(super) const ALL: [Self; 6] =
        [Self::Small, Self::Parts, Self::Download, Self::List, Self::Delete, Self::Validate];

    fn size(self) -> u64 {
        if self == Self::Parts { 21 * MIB } else { 3 * MIB }
    }

    /// Whether its request has a body.
    pub(super) fn sends(self) -> bool {
        matches!(self, Self::Small | Self::Parts | Self::Validate)
    }

    /// Whether the answer to its request has a body.
    pub(super) fn receives(self) -> bool {
        matches!(self, Self::Download | Self::List)
    }

    /// Whether this is its request.
    pub(super) fn is_request(self, head: &Parts) -> bool {
        let (method, path) = (&head.method, head.uri.path());
        match self {
            Self::Small => method == Method::PUT && path.ends_with(".tar"),
            Self::Parts => part(&head.uri) == Some(2),
            Self::Download => method == Method::GET && path.ends_with(".tar"),
            Self::List => head.uri.query().unwrap_or_default().contains("list-type"),
            Self::Delete => method == Method::DELETE && path.ends_with(".json"),
            Self::Validate => method == Method::PUT,
        }
    }

    /// Stores the data that the operation needs.
    pub(super) async fn prepare(self, server: &TestServer) {
        if self.has_backup_before() {
            store(&connect(server).await, "b", 1, self.size()).await;
        }
    }

    /// Whether a backup exists before it.
    fn has_backup_before(self) -> bool {
        matches!(self, Self::Download | Self::List | Self::Delete)
    }

    /// `ok` when the operation succeeded, or the code of its error.
    pub(super) async fn run(self, host: &Host, with_deadline: bool) -> String {
        let mut content = Vec::new();
        let mut extra = json!({"target": "t1"});
        if with_deadline {
            extra["deadline_ms"] = json!(DEADLINE_MS);
        }
        let answer = match self {
            Self::Small | Self::Parts => {
                extra["size"] = json!(self.size());
                host.upload("t1", backup("b"), extra, RandomData::new(1, self.size())).await
            }
            Self::Download => {
                let take = |bytes: &[u8]| content.extend_from_slice(bytes);
                host.download("t1", "b", extra, 4 << 20, take).await
            }
            Self::List => host.call("backup.list", extra).await,
            Self::Delete => {
                extra["backup_id"] = json!("b");
                host.call("backup.delete", extra).await
            }
            Self::Validate => host.call("target.validate", extra).await,
        };
        let expected = RandomData::new(1, self.size()).bytes(content.len());
        assert!(
            content == expected,
            "{self:?}: {} bytes are not those that were stored",
            content.len()
        );
        self.outcome(answer, content.len() as u64)
    }

    fn outcome(self, answer: Answer, received: u64) -> String {
        let result = match answer {
            Ok(result) => result,
            Err(error) => return error.data.code,
        };
        let whole = match self {
            Self::Download => received == self.size(),
            Self::List => result["backups"].as_array().unwrap().len() == 1,
            Self::Validate => return checked(&result),
            Self::Small | Self::Parts | Self::Delete => true,
        };
        if !whole {
            return "wrong".to_owned();
        }
        "ok".to_owned()
    }

    /// Objects in the bucket that should not exist, or that are missing; empty when all is well.
    pub(super) async fn wrong_objects(self, server: &TestServer, succeeded: bool) -> String {
        let expected = match self {
            Self::Small | Self::Parts if succeeded => 2,
            Self::Delete if succeeded => 0,
            _ if self.has_backup_before() => 2,
            _ => 0,
        };
        let (objects, uploads) = (server.objects().await.len(), server.open_uploads().await.len());
        if (objects, uploads) == (expected, 0) {
            return String::new();
        }
        format!(", left {objects}+{uploads}")
    }
}

/// The first problem that `target.validate` found.
fn checked(result: &Value) -> String {
    let checks = result["checks"].as_array().unwrap();
    let failed = checks.iter().find(|check| check["status"] == "failed");
    match failed {
        Some(check) => check["error"]["code"].as_str().unwrap_or_default().to_owned(),
        None => "ok".to_owned(),
    }
}
