//! Reading records back from disk.

use super::*;
use crate::journal::{Journal, Resumable};

const HOUR: Duration = Duration::from_secs(3600);

/// A journal with the record of a multipart upload that is to be kept for `keep`.
fn journal(keep: Duration) -> (tempfile::TempDir, Journal, Record) {
    let folder = tempfile::tempdir().unwrap();
    let journal = Journal::new(folder.path().to_owned());
    let resumable =
        Resumable { backup_id: "b".to_owned(), part_size: 5 << 20, storage_class: None };
    let begun = journal.begin(Intent {
        endpoint: "e".to_owned(),
        bucket: "b".to_owned(),
        archive: "a.tar".to_owned(),
        metadata_key: "a.metadata.json".to_owned(),
        marker: "1".to_owned(),
        resumable: Some(resumable),
        replacement: None,
    });
    let record = begun.unwrap().unwrap();
    record.add_upload("upload-1", keep).unwrap();
    (folder, journal, record)
}

fn part(number: u16) -> StoredPart {
    let (sha256, etag) = ("4".repeat(44), format!("\"{}\"", "e".repeat(32)));
    StoredPart { number, length: 5 << 20, sha256, etag }
}

/// Whether the record is kept, and whether it is due for cleanup.
fn state(journal: &Journal) -> (bool, bool) {
    let kept = journal.kept("e", "b", |_| true).unwrap().is_some();
    (kept, !journal.orphans("e", "b", |_| true).unwrap().due.is_empty())
}

#[test]
fn resumable_record_waits_to_be_resumed() {
    let (_folder, journal, record) = journal(HOUR);
    record.add_part(part(1), HOUR).unwrap();
    record.add_part(part(2), HOUR).unwrap();
    assert_eq!(state(&journal), (false, false));
    drop(record);
    let orphans = journal.orphans("e", "b", |_| true).unwrap();
    assert!(orphans.due.is_empty());
    assert!(orphans.next.is_some_and(|next| next > HOUR / 2 && next <= HOUR));
    assert!(journal.kept("e", "other", |_| true).unwrap().is_none());
    let record = journal.kept("e", "b", |it| it.marker == "1").unwrap().unwrap();
    assert_eq!(record.parts.into_values().collect::<Vec<_>>(), [part(1), part(2)]);
    assert_eq!(record.upload_id.as_deref(), Some("upload-1"));
}

#[test]
fn record_that_is_no_longer_resumable_is_an_orphan() {
    let ends: [fn(&Record); 4] = [
        |record| record.keep(Duration::ZERO).unwrap(),
        |record| record.add_completion().unwrap(),
        |record| record.add(&Update { orphan_since: Some(1), ..Update::default() }).unwrap(),
        |record| record.add(&Update { keep_until: Some(1), ..Update::default() }).unwrap(),
    ];
    for end in ends {
        let (_folder, journal, record) = journal(HOUR);
        end(&record);
        drop(record);
        assert_eq!(state(&journal), (false, true));
    }
    let (_folder, journal, record) = journal(Duration::ZERO);
    drop(record);
    assert_eq!(state(&journal), (false, true));
}

#[test]
fn record_written_with_clock_ahead_still_expires() {
    let (_folder, journal, record) = journal(HOUR);
    for far in [seconds(SystemTime::now() + 3 * MAX_KEPT), u64::MAX >> 1] {
        record.add(&Update { keep_until: Some(far), ..Update::default() }).unwrap();
        record.release();
        assert_eq!(state(&journal), (true, false), "{far}");
        let known = journal.kept("e", "b", |_| true).unwrap().unwrap().keep_until.unwrap();
        assert!(known <= seconds(SystemTime::now() + MAX_KEPT), "{far}");
    }
}

#[test]
fn record_can_be_released_during_a_part_write() {
    let (_folder, journal, record) = journal(HOUR);
    record.release();
    let next = journal.kept("e", "b", |_| true).unwrap().unwrap();
    record.add_part(part(3), HOUR).unwrap();
    next.add_part(part(4), HOUR).unwrap();
    drop((record, next));
    let next = journal.kept("e", "b", |_| true).unwrap().unwrap();
    assert_eq!(next.parts.into_keys().collect::<Vec<_>>(), [3, 4]);
}

#[test]
fn incomplete_record_line_loses_only_itself() {
    let (_folder, journal, record) = journal(HOUR);
    record.add_part(part(1), HOUR).unwrap();
    record.append(b"\n{\"part\":{\"number\":2,\"le").unwrap();
    record.add_part(part(3), HOUR).unwrap();
    record.append(&[0, 0xff, 0, 0xfe]).unwrap();
    record.add_part(part(4), HOUR).unwrap();
    drop(record);
    let next = journal.kept("e", "b", |_| true).unwrap().unwrap();
    assert_eq!(next.parts.into_keys().collect::<Vec<_>>(), [1, 3, 4]);
}

#[test]
fn record_size_is_limited() {
    let (_folder, journal, record) = journal(HOUR);
    for _ in 0..4 {
        for number in 1..=10_000 {
            record.add_part(part(number), HOUR).unwrap();
        }
    }
    let length = record.file.metadata().unwrap().len();
    assert!((FULL..LONGEST).contains(&length), "{length}");
    record.add_completion().unwrap();
    drop(record);
    assert_eq!(state(&journal), (false, true));
}
