//! Listings whose pages never end, end early, repeat, or contain too much.

use super::operation::Operation;
use super::script::{Piece, Script};
use super::server::{Act, MatchedRequest};
use super::{Behavior, DEFAULT, SMALL, assert_harmless, listings};
use crate::provider_emulation::Call;

const XML: &str = "content-type: application/xml\r\n";

fn v2(call: Call) -> bool {
    call == Call::ListObjectsV2
}

fn uploads(call: Call) -> bool {
    call == Call::ListMultipartUploads
}

fn parts(call: Call) -> bool {
    call == Call::ListParts
}

fn send(document: &str) -> Act {
    Act::Send(Script::document(200, document))
}

/// A page of objects that announces more pages. It only replaces listings of the whole folder.
fn page(members: &str) -> Act {
    send(&format!("<ListBucketResult><IsTruncated>true</IsTruncated>{members}</ListBucketResult>"))
}

fn token(token: &str) -> String {
    format!("<NextContinuationToken>{token}</NextContinuationToken>")
}

fn object(key: &str, etag: &str) -> String {
    format!(
        "<Contents><Key>t1/backups/{key}</Key><LastModified>2026-11-20T04:32:33.000Z</LastModified>\
         <ETag>{etag}</ETag><Size>1</Size></Contents>"
    )
}

/// A listing without pages: one long document.
fn long(pieces: Vec<Piece>) -> Act {
    let start = Piece::Once(b"<ListBucketResult><IsTruncated>false</IsTruncated>".to_vec());
    let end = Piece::Once(b"</ListBucketResult>".to_vec());
    let body = [start].into_iter().chain(pieces).chain([end]).collect();
    Act::Send(Script::chunked(200, XML, body))
}

fn marker(asked: &MatchedRequest<'_>) -> String {
    asked.parameter("marker").unwrap_or_default()
}

const ENDLESS: &[Behavior] = &[
    Behavior::new("an empty token", v2, |_| page(&token(""))),
    Behavior::new("no token although there are more pages", v2, |_| page("")),
    Behavior::new("a token that repeats", v2, |_| page(&token("again"))),
    Behavior::new("a token that repeats, with an object", v2, |_| {
        page(&(token("again") + &object("x.txt", "0")))
    }),
    Behavior::new("two alternating tokens", v2, |asked| page(&token(["a", "b"][asked.number % 2]))),
    Behavior::new("a new token each time and nothing else", v2, |asked| {
        page(&token(&format!("t{}", asked.number)))
    }),
    Behavior::new("a new token each time with the same object", v2, |asked| {
        page(&(token(&format!("t{}", asked.number)) + &object("x.txt", "0")))
    }),
    Behavior::new("a token of a MiB", v2, |_| page(&token(&"t".repeat(1 << 20)))),
    Behavior::new("a token that grows", v2, |asked| page(&token(&"t".repeat(1 + asked.number)))),
    Behavior::new("a marker that repeats", listings, |asked| match asked.call {
        Call::ListObjectsV2 => Act::Send(Script::refusal(501, "NotImplemented", "", "")),
        _ => page("<NextMarker>t1/backups/m</NextMarker>"),
    }),
    Behavior::new("the first page again and again", listings, |asked| match asked.call {
        Call::ListObjectsV2 => Act::Send(Script::refusal(501, "NotImplemented", "", "")),
        _ => page(&object("a.txt", "0")),
    }),
    Behavior::new("markers that go back", listings, |asked| match asked.call {
        Call::ListObjectsV2 => Act::Send(Script::refusal(501, "NotImplemented", "", "")),
        _ => {
            let next = if marker(asked).ends_with('m') { "k" } else { "m" };
            page(&format!("<NextMarker>t1/backups/{next}</NextMarker>"))
        }
    }),
];

/// A page of 1,000 objects that no page before it had.
fn endless_page(asked: &MatchedRequest<'_>, ending: &str) -> Act {
    let name = |number| format!("{:06}-{number:04}{ending}", asked.number);
    let objects: String = (0..1000).map(|number| object(&name(number), "0")).collect();
    page(&(token(&format!("t{}", asked.number)) + &objects))
}

/// Endless pages. They end when the agent's memory for them is full, after many requests.
const fn without_end(name: &'static str, act: fn(&MatchedRequest<'_>) -> Act) -> Behavior {
    Behavior { documents: 200, ..Behavior::new(name, v2, act) }
}

const CROWDED: &[Behavior] = &[
    Behavior::new("a page of 100,000 objects", listings, |_| {
        long(vec![Piece::Numbered(|number| object(&format!("{number:06}.txt"), "0"), 100_000)])
    })
    .undetectable(),
    Behavior::new("100,000 groups", listings, |_| {
        let group = |number| {
            format!("<CommonPrefixes><Prefix>t1/backups/{number:06}/</Prefix></CommonPrefixes>")
        };
        long(vec![Piece::Numbered(group, 100_000)])
    })
    .undetectable(),
    without_end("endless pages of 1,000 archives", |asked| endless_page(asked, ".tar")),
    without_end("endless pages of 1,000 foreign objects", |asked| endless_page(asked, ".txt"))
        .with_few_operations(),
    without_end("endless pages of 1,000 groups", |asked| {
        let group = |number| format!("t1/backups/{:06}-{number:04}/", asked.number);
        let groups = (0..1000).map(|number| {
            format!("<CommonPrefixes><Prefix>{}</Prefix></CommonPrefixes>", group(number))
        });
        page(&(token(&format!("t{}", asked.number)) + &groups.collect::<String>()))
    })
    .with_few_operations(),
    Behavior::new("elements nested 100,000 deep", listings, |_| {
        let down = Piece::Repeat(b"<a>".to_vec(), 100_000);
        long(vec![down, Piece::Repeat(b"</a>".to_vec(), 100_000)])
    })
    .undetectable(),
    Behavior::new("100,000 attributes", listings, |_| {
        let attribute = Piece::Numbered(|number| format!(" a{number}=\"b\""), 100_000);
        long(vec![Piece::Once(b"<a".to_vec()), attribute, Piece::Once(b"/>".to_vec())])
    })
    .undetectable(),
    Behavior::new("a key of a MiB", listings, |_| {
        send(&format!("<ListBucketResult>{}</ListBucketResult>", object(&"k".repeat(1 << 20), "0")))
    })
    .undetectable(),
    Behavior::new("an ETag of 300 kB for each object", listings, |_| {
        let both = ["b.tar", "b.metadata.json"].map(|name| object(name, &"e".repeat(300_000)));
        send(&format!("<ListBucketResult>{}</ListBucketResult>", both.concat()))
    })
    .undetectable(),
    Behavior::new("an unknown member of 1 MiB", listings, |_| {
        let member = format!("<Owner>{}</Owner>", "o".repeat(1 << 20));
        send(&format!("<ListBucketResult>{member}</ListBucketResult>"))
    })
    .undetectable(),
];

const BROKEN: &[Behavior] = &[
    Behavior::new("a listing with another end", listings, |_| {
        send("<ListBucketResult><Contents><Key>t1/backups/x</ListBucketResult>")
    }),
    Behavior::new("a listing that is cut", listings, |_| {
        send("<ListBucketResult><IsTruncated>false</IsTruncated><Contents><Key>t1/back")
    }),
    Behavior::new("a listing with wrong nesting", listings, |_| {
        send("<ListBucketResult><a></b></a></ListBucketResult>")
    }),
    Behavior::new("two listings in one", listings, |_| {
        send("<ListBucketResult></ListBucketResult><ListBucketResult></ListBucketResult>")
    }),
    Behavior::new("a listing of something else", listings, |_| {
        send("<ListAllMyBucketsResult><Buckets></Buckets></ListAllMyBucketsResult>")
    }),
    Behavior::new("NUL bytes in a listing", listings, |_| {
        send("<ListBucketResult>\0<Contents><Key>\0</Key></Contents></ListBucketResult>")
    })
    .undetectable(),
    Behavior::new("encoded keys that decode to nothing", listings, |_| {
        let objects = ["%", "%zz", "%ff%fe", "%00"].map(|key| object(key, "0")).concat();
        send(&format!(
            "<ListBucketResult><EncodingType>url</EncodingType>{objects}</ListBucketResult>"
        ))
    })
    .undetectable(),
];

/// A page of incomplete uploads that announces more pages.
fn page_of_uploads(members: &str) -> Act {
    send(&format!(
        "<ListMultipartUploadsResult><IsTruncated>true</IsTruncated>{members}\
         </ListMultipartUploadsResult>"
    ))
}

fn upload(key: &str, id: &str) -> String {
    format!(
        "<Upload><Key>{key}</Key><UploadId>{id}</UploadId><Initiated>2020-11-20T04:32:33.000Z\
         </Initiated></Upload>"
    )
}

fn next_upload(key: &str, id: &str) -> String {
    format!("<NextKeyMarker>{key}</NextKeyMarker><NextUploadIdMarker>{id}</NextUploadIdMarker>")
}

fn page_of_parts(members: &str) -> Act {
    send(&format!("<ListPartsResult><IsTruncated>true</IsTruncated>{members}</ListPartsResult>"))
}

/// A cleanup would check each upload, which is its task and takes long.
const fn without_cleanup(behavior: Behavior) -> Behavior {
    let operations = &[Operation::Validate, Operation::Small, Operation::Repair];
    Behavior { operations, documents: 40, ..behavior }
}

const OF_UPLOADS: &[Behavior] = &[
    Behavior::new("uploads: no marker", uploads, |_| page_of_uploads("")),
    Behavior::new("uploads: empty markers", uploads, |_| page_of_uploads(&next_upload("", ""))),
    Behavior::new("uploads: a marker that repeats", uploads, |_| {
        page_of_uploads(&next_upload("k", "i"))
    }),
    Behavior::new("uploads: endless new markers", uploads, |asked| {
        page_of_uploads(&next_upload("k", &asked.number.to_string()))
    }),
    without_cleanup(Behavior::new("uploads: endless pages of 1,000", uploads, |asked| {
        let key = |number| format!("t1/backups/{:06}-{number:04}.tar", asked.number);
        let page: String = (0..1000).map(|number| upload(&key(number), "i")).collect();
        page_of_uploads(&(page + &next_upload(&key(999), "i")))
    })),
    Behavior::new("uploads: an ID of a MiB", uploads, |_| {
        let upload = upload("t1/backups/Backup z.tar", &"i".repeat(1 << 20));
        send(&format!("<ListMultipartUploadsResult>{upload}</ListMultipartUploadsResult>"))
    }),
    Behavior::new("uploads: a cut listing", uploads, |_| {
        send("<ListMultipartUploadsResult><Upload><Key>t1/backups/x.tar</Key>")
    }),
    Behavior::new(
        "parts: a marker that repeats",
        |call| parts(call) || uploads(call),
        |asked| match asked.call {
            Call::ListParts => page_of_parts("<NextPartNumberMarker>1</NextPartNumberMarker>"),
            _ => {
                let upload = upload("t1/backups/Backup z.tar", "i");
                send(&format!("<ListMultipartUploadsResult>{upload}</ListMultipartUploadsResult>"))
            }
        },
    ),
    Behavior::new(
        "parts: new markers",
        |call| parts(call) || uploads(call),
        |asked| match asked.call {
            Call::ListParts => {
                let number = asked.number;
                page_of_parts(&format!("<NextPartNumberMarker>{number}</NextPartNumberMarker>"))
            }
            _ => {
                let upload = upload("t1/backups/Backup z.tar", "i");
                send(&format!("<ListMultipartUploadsResult>{upload}</ListMultipartUploadsResult>"))
            }
        },
    ),
    Behavior::new(
        "opening: an upload ID of a MiB",
        |call| call == Call::CreateMultipartUpload,
        |_| {
            let id = "i".repeat(1 << 20);
            send(&format!(
                "<InitiateMultipartUploadResult><UploadId>{id}</UploadId>\
                 </InitiateMultipartUploadResult>"
            ))
        },
    ),
    Behavior::new(
        "opening: no upload ID",
        |call| call == Call::CreateMultipartUpload,
        |_| send("<InitiateMultipartUploadResult><Key>k</Key></InitiateMultipartUploadResult>"),
    ),
];

#[tokio::test]
async fn listing_pages_without_progress_end_in_errors() {
    assert_harmless(ENDLESS, DEFAULT).await;
}

#[tokio::test]
async fn oversized_listings_end_in_errors() {
    assert_harmless(CROWDED, DEFAULT).await;
}

#[tokio::test]
async fn oversized_listings_fit_small_memory() {
    assert_harmless(CROWDED, SMALL).await;
}

#[tokio::test]
async fn malformed_listings_end_in_errors() {
    assert_harmless(BROKEN, DEFAULT).await;
}

#[tokio::test]
async fn upload_listings_without_progress_end_in_errors() {
    assert_harmless(OF_UPLOADS, DEFAULT).await;
}
