//! Metadata objects of other writers: large, deep, many, or with members that do not fit into a
//! message.

use super::operation::Operation;
use super::script::{Piece, Script};
use super::server::{Act, MatchedRequest};
use super::{Behavior, DEFAULT, SMALL, assert_harmless};
use crate::provider_emulation::Call;

type Objects = Vec<(String, Vec<u8>)>;

/// A pair of archive and metadata object.
fn pair(name: &str, metadata: impl Into<Vec<u8>>) -> [(String, Vec<u8>); 2] {
    [(format!("{name}.tar"), b"x".to_vec()), (format!("{name}.metadata.json"), metadata.into())]
}

/// Metadata with this many letters in its id.
fn long_id(letters: usize) -> String {
    format!("{{\"backup_id\":\"{}\"}}", "i".repeat(letters))
}

/// Metadata of this many bytes.
fn padded(id: &str, bytes: usize) -> String {
    format!("{{\"backup_id\":\"{id}\",\"name\":\"n\",\"x\":\"{}\"}}", "y".repeat(bytes))
}

fn nested(levels: usize, open: &str, close: &str) -> String {
    let (down, up) = (open.repeat(levels), close.repeat(levels));
    format!("{{\"backup_id\":\"deep\",\"x\":{down}1{up}}}")
}

const fn objects(name: &'static str, documents: usize, objects: fn() -> Objects) -> Behavior {
    let honest = Behavior::new(name, |_| false, |_| Act::Pass);
    Behavior { objects, documents, works: true, ..honest }
}

const REAL: &[Behavior] = &[
    objects("2 MiB of metadata", 1, || pair("x", padded("x", 2 << 20)).into()),
    objects("2 MiB of metadata in 32 objects", 32, || {
        let pairs = (0..32).map(|number| pair(&format!("x{number:02}"), padded("x", 2 << 20)));
        pairs.flatten().collect()
    }),
    objects("IDs of 35,000 letters", 3, || {
        let pairs = (0..3).map(|number| pair(&format!("x{number}"), long_id(35_000 + number)));
        pairs.flatten().collect()
    }),
    objects("an ID of a MiB", 1, || pair("x", long_id(1 << 20)).into()),
    objects("metadata 30 levels deep", 1, || pair("x", nested(30, "[", "]")).into()),
    objects("metadata 20,000 levels deep", 2, || {
        let arrays = pair("x", nested(20_000, "[", "]"));
        arrays.into_iter().chain(pair("y", nested(20_000, "{\"a\":", "}"))).collect()
    }),
    objects("meaningless metadata", 6, || {
        let texts = ["", "[", "null", "{\"backup_id\":1}", "{\"backup_id\":\"\"}", "\u{feff}{}"];
        let pairs = texts.iter().enumerate();
        pairs.flat_map(|(number, text)| pair(&format!("x{number}"), *text)).collect()
    }),
    objects("impossible numbers", 2, || {
        let huge = "{\"backup_id\":\"x\",\"size\":1e999,\"date\":-1}";
        let ours = "{\"backup_id\":\"y\",\"s3_backup_agent\":{\"format\":1,\"agent\":\"0.1.0\",\
                    \"size\":18446744073709551615,\"part_size\":0,\"sha256\":\"\",\"parts\":[]}}";
        pair("x", huge).into_iter().chain(pair("y", ours)).collect()
    }),
    objects("names of control characters and combining marks", 1, || {
        let metadata = "{\"backup_id\":\"x\\u202e\\u001b[31m\",\"name\":\"](https://x.example)\"}";
        pair("x", metadata).into()
    }),
    objects("30 KiB of metadata in 200 objects", 200, || {
        let pairs = (0..200).map(|number| {
            let name = format!("x{number:03}");
            pair(&name, padded(&name, 30 << 10))
        });
        pairs.flatten().collect()
    }),
];

/// A folder that only the hostile server shows: the same number of archives and metadata objects.
fn folder(asked: &MatchedRequest<'_>, count: u64, entry: fn(u64) -> String, metadata: &str) -> Act {
    if asked.call == Call::GetObject {
        let id = asked.head.uri.path().rsplit('/').next().unwrap_or_default();
        let document = metadata.replace("ID", id.trim_end_matches(".metadata.json"));
        return Act::Send(Script::whole(200, "etag: \"0\"\r\n", document));
    }
    let body = vec![
        Piece::Once(b"<ListBucketResult><IsTruncated>false</IsTruncated>".to_vec()),
        Piece::Numbered(entry, count),
        Piece::Once(b"</ListBucketResult>".to_vec()),
    ];
    Act::Send(Script::chunked(200, "content-type: application/xml\r\n", body))
}

fn entries(name: &str) -> String {
    let entry = |ending: &str, size: usize| {
        format!(
            "<Contents><Key>t1/backups/{name}{ending}</Key><ETag>\"0\"</ETag><Size>{size}</Size>\
             <LastModified>2026-11-20T04:32:33.000Z</LastModified></Contents>"
        )
    };
    entry(".metadata.json", 30 << 10) + &entry(".tar", 1)
}

fn reads(call: Call) -> bool {
    matches!(call, Call::ListObjects | Call::ListObjectsV2 | Call::GetObject)
}

const fn invented(
    name: &'static str,
    documents: usize,
    act: fn(&MatchedRequest<'_>) -> Act,
) -> Behavior {
    let undetectable = Behavior::new(name, reads, act).undetectable();
    Behavior { documents, operations: &[Operation::List, Operation::Quick], ..undetectable }
}

const INVENTED: &[Behavior] = &[
    invented("30 KiB of metadata in 5,000 objects", 5000, |asked| {
        folder(asked, 5000, |number| entries(&format!("x{number:04}")), &padded("ID", 30 << 10))
    }),
    invented("one metadata object, named 2,000 times", 1, |asked| {
        folder(
            asked,
            2000,
            |_| entries("same").replace("<ETag>\"0\"</ETag>", ""),
            &padded("ID", 10),
        )
    }),
    invented("keys of 70,000 letters", 0, |asked| {
        let entry = |number: u64| entries(&format!("{number}{}", "k".repeat(70_000)));
        folder(asked, 3, entry, &padded("ID", 10))
    }),
    invented("20,000 archives without metadata", 0, |asked| {
        let entry =
            |number: u64| entries(&format!("x{number:05}")).replace(".metadata.json", ".tar.part");
        folder(asked, 20_000, entry, "")
    }),
    invented("one ID in 500 objects", 500, |asked| {
        folder(asked, 500, |number| entries(&format!("x{number:03}")), "{\"backup_id\":\"b\"}")
    }),
];

#[tokio::test]
async fn foreign_metadata_hides_no_backup() {
    assert_harmless(REAL, DEFAULT).await;
}

#[tokio::test]
async fn foreign_metadata_fits_small_memory() {
    assert_harmless(REAL, SMALL).await;
}

#[tokio::test]
async fn many_metadata_objects_are_listed_or_end_in_errors() {
    assert_harmless(INVENTED, DEFAULT).await;
}
