//! The content of the bucket, and its listings.

use std::collections::BTreeMap;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use serde_json::Value;
use sha2::{Digest, Sha256};

/// Entries in one page of a listing; few, so that there are several pages.
const PAGE: usize = 4;

const METADATA: &str = ".metadata.json";

/// The bytes of one key.
#[derive(Debug)]
pub struct Object {
    pieces: Vec<Bytes>,
    pub etag: String,
    second: u64,
}

impl Object {
    pub fn size(&self) -> usize {
        self.pieces.iter().map(Bytes::len).sum()
    }

    pub fn bytes(&self, start: usize, end: usize) -> Bytes {
        match self.pieces.as_slice() {
            [whole] => whole.slice(start..end),
            pieces => Bytes::from(pieces.concat()).slice(start..end),
        }
    }

    pub fn http_date(&self) -> String {
        let (hours, minutes, seconds) = clock(self.second);
        format!("Thu, 01 Jan 2026 {hours:02}:{minutes:02}:{seconds:02} GMT")
    }
}

fn clock(second: u64) -> (u64, u64, u64) {
    (second / 3600 % 24, second / 60 % 60, second % 60)
}

fn xml_date(second: u64) -> String {
    let (hours, minutes, seconds) = clock(second);
    format!("2026-01-01T{hours:02}:{minutes:02}:{seconds:02}.000Z")
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[derive(Debug)]
struct Upload {
    key: String,
    second: u64,
    parts: BTreeMap<u32, Object>,
}

/// The bucket. Every change takes a second, so that all objects have different times and ETags.
#[derive(Debug, Default)]
pub struct Bucket {
    objects: BTreeMap<String, Object>,
    uploads: BTreeMap<String, Upload>,
    seconds: u64,
}

impl Bucket {
    fn make(&mut self, pieces: Vec<Bytes>) -> Object {
        self.seconds += 1;
        Object { pieces, etag: format!("\"{:x}\"", self.seconds), second: self.seconds }
    }

    pub fn object(&self, key: &str) -> Option<&Object> {
        self.objects.get(key)
    }

    pub fn put(&mut self, key: &str, pieces: Vec<Bytes>) -> String {
        let object = self.make(pieces);
        let etag = object.etag.clone();
        self.objects.insert(key.to_owned(), object);
        etag
    }

    pub fn delete(&mut self, key: &str) {
        self.objects.remove(key);
    }

    pub fn open_upload(&mut self, key: &str) -> String {
        self.seconds += 1;
        let id = format!("u{}", self.seconds);
        let upload =
            Upload { key: key.to_owned(), second: self.seconds, parts: BTreeMap::default() };
        self.uploads.insert(id.clone(), upload);
        id
    }

    pub fn put_part(&mut self, id: &str, number: u32, bytes: Bytes) -> Option<String> {
        let part = self.make(vec![bytes]);
        let etag = part.etag.clone();
        self.uploads.get_mut(id)?.parts.insert(number, part);
        Some(etag)
    }

    /// Completes with the parts that `document` names, which have to be the ones that were sent.
    pub fn complete(&mut self, id: &str, document: &str) -> Option<String> {
        let upload = self.uploads.remove(id)?;
        let named: Vec<_> = document
            .split("<ETag>")
            .skip(1)
            .map(|rest| rest.split_once("</ETag>").unwrap().0.replace("&quot;", "\""))
            .collect();
        let sent: Vec<_> = upload.parts.values().map(|part| part.etag.clone()).collect();
        assert_eq!(named, sent, "an upload is completed with the parts that were sent");
        let sizes: Vec<_> = upload.parts.values().map(Object::size).collect();
        assert!(
            sizes.windows(2).all(|pair| pair[0] == sizes[0] && pair[1] <= sizes[0]),
            "{sizes:?}"
        );
        let pieces = upload.parts.into_values().flat_map(|part| part.pieces).collect();
        Some(self.put(&upload.key, pieces))
    }

    pub fn abort(&mut self, id: &str) -> bool {
        self.uploads.remove(id).is_some()
    }

    pub fn list(&self, prefix: &str, after: Option<&str>) -> String {
        let direct = |key: &&String| {
            key.strip_prefix(prefix).is_some_and(|rest| !rest.contains('/'))
                && after.is_none_or(|after| key.as_str() > after)
        };
        let keys: Vec<_> = self.objects.keys().filter(direct).collect();
        let mut list = "<ListBucketResult>".to_owned();
        for key in keys.iter().take(PAGE) {
            let object = &self.objects[key.as_str()];
            list += &format!(
                "<Contents><Key>{}</Key><Size>{}</Size><ETag>{}</ETag>\
                 <LastModified>{}</LastModified></Contents>",
                escaped(key),
                object.size(),
                object.etag,
                xml_date(object.second)
            );
        }
        if keys.len() > PAGE {
            let next = escaped(keys[PAGE - 1]);
            list += &format!(
                "<IsTruncated>true</IsTruncated>\
                 <NextContinuationToken>{next}</NextContinuationToken>"
            );
        }
        list + "</ListBucketResult>"
    }

    pub fn list_uploads(&self, prefix: &str) -> String {
        let uploads = self.uploads.iter().filter(|(_, upload)| upload.key.starts_with(prefix));
        let uploads: String = uploads
            .map(|(id, Upload { key, second, .. })| {
                format!(
                    "<Upload><Key>{}</Key><UploadId>{id}</UploadId><Initiated>{}</Initiated>\
                     </Upload>",
                    escaped(key),
                    xml_date(*second)
                )
            })
            .collect();
        format!("<ListMultipartUploadsResult>{uploads}</ListMultipartUploadsResult>")
    }

    pub fn list_parts(&self, id: &str) -> Option<String> {
        let parts = self.uploads.get(id)?.parts.iter();
        let parts: String = parts
            .map(|(number, part)| {
                let date = xml_date(part.second);
                format!(
                    "<Part><PartNumber>{number}</PartNumber><LastModified>{date}</LastModified>\
                     </Part>"
                )
            })
            .collect();
        Some(format!("<ListPartsResult>{parts}</ListPartsResult>"))
    }

    /// Backups of the agent that do not match their archive: there must be none.
    pub fn damaged_backups(&self) -> Vec<String> {
        let documents = self.objects.iter().filter_map(|(key, document)| {
            let archive = self.objects.get(&(key.strip_suffix(METADATA)?.to_owned() + ".tar"))?;
            (!fits(document, archive)?).then(|| key.clone())
        });
        documents.collect()
    }

    /// Whether a backup with this id exists in any folder under this name.
    pub fn has_backup(&self, id: &str, name: &str) -> bool {
        let file = format!("{name}{METADATA}");
        let mut documents = self.objects.iter().filter(|(key, _)| {
            key.strip_suffix(&file).is_some_and(|folder| folder.is_empty() || folder.ends_with('/'))
        });
        documents.any(|(_, document)| {
            let document: Value =
                serde_json::from_slice(&document.bytes(0, document.size())).unwrap_or_default();
            document["backup_id"] == id
        })
    }

    /// Keys that belong to no complete backup: incomplete uploads, archives without metadata
    /// object, metadata objects without archive.
    pub fn incomplete_objects(&self) -> Vec<String> {
        let halves = self.objects.keys().filter(|key| {
            let other = match (key.strip_suffix(METADATA), key.strip_suffix(".tar")) {
                (Some(name), _) => format!("{name}.tar"),
                (_, Some(name)) => format!("{name}{METADATA}"),
                _ => return true,
            };
            !self.objects.contains_key(&other)
        });
        let uploads = self.uploads.iter().map(|(id, upload)| format!("{} {id}", upload.key));
        halves.cloned().chain(uploads).collect()
    }
}

/// Whether the archive matches the digests of the metadata object; `None` for a metadata object of
/// another writer.
fn fits(document: &Object, archive: &Object) -> Option<bool> {
    let document: Value = serde_json::from_slice(&document.bytes(0, document.size())).ok()?;
    let ours = document.get("s3_backup_agent")?;
    let number = |name: &str| usize::try_from(ours[name].as_u64()?).ok();
    let (size, part_size) = (number("size")?, number("part_size")?);
    let parts: Vec<_> = archive
        .bytes(0, archive.size())
        .chunks(part_size)
        .map(|part| Value::from(BASE64_STANDARD.encode(Sha256::digest(part))))
        .collect();
    Some(size == archive.size() && ours["parts"].as_array() == Some(&parts))
}
