//! The honest answers: a bucket with two backups, one of them without checksums, and an incomplete
//! upload. Stored objects can be read with HEAD and GET.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;
use sha2::{Digest as _, Sha256};

const ARCHIVE: &[u8] = &[7; 100];

/// Names and contents of the initial objects.
static OBJECTS: LazyLock<[(String, Vec<u8>); 4]> = LazyLock::new(|| {
    let digest = Sha256::digest(ARCHIVE);
    let whole = format!("{}-1", STANDARD.encode(Sha256::digest(&digest[..])));
    let ours = json!({
        "format": 1, "agent": "0.1.0", "size": ARCHIVE.len(), "part_size": 5 << 20,
        "sha256": whole, "parts": [STANDARD.encode(digest)],
    });
    let document = json!({"backup_id": "b", "name": "b", "size": 100, "s3_backup_agent": ours});
    let plain = json!({"backup_id": "plain", "name": "plain", "size": 100});
    let object = |name: &str, content: Vec<u8>| (format!("backups/{name}"), content);
    [
        object("b.metadata.json", document.to_string().into()),
        object("b.tar", ARCHIVE.to_vec()),
        object("plain.metadata.json", plain.to_string().into()),
        object("plain.tar", ARCHIVE.to_vec()),
    ]
});

/// An answer in its parts.
#[derive(Debug)]
pub struct Whole {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Whole {
    pub fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self { status, headers: Vec::new(), body: body.into() }
    }

    fn with(mut self, name: &str, value: impl ToString) -> Self {
        self.headers.push((name.to_owned(), value.to_string()));
        self
    }

    /// Head and body as they are sent; for HEAD only the headers describe the body.
    pub fn bytes(&self, is_head: bool) -> Vec<u8> {
        let mut head = format!("HTTP/1.1 {} S\r\n", self.status);
        for (name, value) in &self.headers {
            head += &format!("{name}: {value}\r\n");
        }
        if self.status != 204 {
            head += &format!("content-length: {}\r\n", self.body.len());
        }
        head += "\r\n";
        let mut bytes = head.into_bytes();
        if !is_head {
            bytes.extend_from_slice(&self.body);
        }
        bytes
    }
}

/// The parts of a request that matter here.
pub struct Asked {
    pub method: String,
    pub path: String,
    pub range: Option<String>,
    pub body: Vec<u8>,
}

impl Asked {
    fn parameter(&self, name: &str) -> Option<String> {
        let (_, query) = self.path.split_once('?')?;
        let query = url::form_urlencoded::parse(query.as_bytes());
        query.into_owned().find_map(|(other, value)| (other == name).then_some(value))
    }

    fn key(&self) -> String {
        let path = self.path.split('?').next().unwrap_or_default().trim_start_matches('/');
        let key = path.split_once('/').map_or("", |(_, key)| key);
        percent_encoding::percent_decode_str(key).decode_utf8_lossy().into_owned()
    }
}

#[derive(Default)]
pub struct Bucket {
    /// Sizes and contents of stored objects, including deleted ones.
    stored: BTreeMap<String, Option<Vec<u8>>>,
    parts: BTreeMap<String, usize>,
}

impl Bucket {
    fn objects(&self) -> BTreeMap<String, Vec<u8>> {
        let mut objects: BTreeMap<_, _> = OBJECTS.iter().cloned().collect();
        for (key, content) in &self.stored {
            match content {
                Some(content) => drop(objects.insert(key.clone(), content.clone())),
                None => drop(objects.remove(key)),
            }
        }
        objects
    }

    pub fn answer(&mut self, asked: Asked) -> Whole {
        let key = asked.key();
        let has = |name: &str| asked.parameter(name);
        match (asked.method.as_str(), has("uploadId")) {
            ("GET", None) if has("uploads").is_some() => document(
                "ListMultipartUploadsResult",
                "<Upload><Key>backups/old.tar</Key><UploadId>old</UploadId>\
                 <Initiated>2020-11-20T04:32:33.000Z</Initiated></Upload>",
            ),
            ("GET", None) if has("object-lock").is_some() => {
                refusal(404, "ObjectLockConfigurationNotFoundError")
            }
            ("GET", None) if key.is_empty() => self.list(&has("prefix").unwrap_or_default()),
            ("GET", Some(_)) => document("ListPartsResult", ""),
            ("GET" | "HEAD", None) => self.read(&key, asked.range.as_deref()),
            ("PUT", Some(id)) => {
                *self.parts.entry(id).or_default() += asked.body.len();
                stored()
            }
            ("PUT", None) => {
                self.stored.insert(key, Some(asked.body));
                stored()
            }
            ("POST", None) => document("InitiateMultipartUploadResult", "<UploadId>new</UploadId>"),
            ("POST", Some(id)) => {
                let size = self.parts.remove(&id).unwrap_or_default();
                self.stored.insert(key, Some(vec![0; size]));
                document("CompleteMultipartUploadResult", "<ETag>\"e\"</ETag>")
            }
            ("DELETE", None) => {
                self.stored.insert(key, None);
                Whole::new(204, "")
            }
            ("DELETE", Some(_)) => Whole::new(204, ""),
            _ => refusal(501, "NotImplemented"),
        }
    }

    fn list(&self, prefix: &str) -> Whole {
        let objects = self.objects();
        let listed = objects.iter().filter(|(key, _)| key.starts_with(prefix));
        let contents: String = listed
            .map(|(key, content)| {
                format!(
                    "<Contents><Key>{key}</Key><LastModified>2026-11-20T04:32:33.000Z</LastModified>\
                     <ETag>\"e\"</ETag><Size>{}</Size></Contents>",
                    content.len()
                )
            })
            .collect();
        document("ListBucketResult", &format!("<IsTruncated>false</IsTruncated>{contents}"))
    }

    fn read(&self, key: &str, range: Option<&str>) -> Whole {
        let objects = self.objects();
        let Some(content) = objects.get(key) else { return refusal(404, "NoSuchKey") };
        let range = range.and_then(|range| {
            let (start, last) = range.strip_prefix("bytes=")?.split_once('-')?;
            let last = last.parse().unwrap_or(usize::MAX).min(content.len().checked_sub(1)?);
            Some((start.parse::<usize>().ok()?.min(last), last))
        });
        let answer = match range {
            Some((start, last)) => Whole::new(206, &content[start..=last])
                .with("content-range", format!("bytes {start}-{last}/{}", content.len())),
            None => Whole::new(200, content.clone()),
        };
        answer.with("etag", "\"e\"").with("last-modified", "Fri, 20 Nov 2026 04:32:33 GMT")
    }
}

fn stored() -> Whole {
    Whole::new(200, "").with("etag", "\"e\"")
}

fn document(root: &str, members: &str) -> Whole {
    Whole::new(200, format!("<?xml version=\"1.0\"?>\n<{root}>{members}</{root}>"))
        .with("content-type", "application/xml")
}

fn refusal(status: u16, code: &str) -> Whole {
    let document = document("Error", &format!("<Code>{code}</Code><Message>no</Message>"));
    Whole { status, ..document }
}
