use super::*;

fn intent(marker: &str) -> Intent {
    Intent {
        endpoint: "https://s3.example.org".to_owned(),
        bucket: "backups".to_owned(),
        archive: "backups/a.tar".to_owned(),
        metadata_key: "backups/a.metadata.json".to_owned(),
        marker: marker.to_owned(),
        resumable: None,
        replacement: None,
    }
}

fn journal() -> (tempfile::TempDir, Journal) {
    let folder = tempfile::tempdir().unwrap();
    let journal = Journal::new(folder.path().join("state"));
    (folder, journal)
}

fn orphans(journal: &Journal) -> Vec<Record> {
    journal.orphans("https://s3.example.org", "backups", |_| true).unwrap().due
}

#[test]
fn existing_record_differs_from_journal_write_failure() {
    let (_folder, journal) = journal();
    let _record = journal.begin(intent("1")).unwrap().unwrap();
    assert!(journal.begin(intent("1")).unwrap().is_none());
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("uploads"), "a file").unwrap();
    Journal::new(folder.path().to_owned()).begin(intent("1")).unwrap_err();
}

#[test]
fn lock_without_record_is_removed() {
    let (_folder, journal) = journal();
    let _record = journal.begin(intent("1")).unwrap().unwrap();
    let lock = |marker: &str| journal.folder.join(marker).with_extension(LOCK_ENDING);
    for marker in ["1", "2"] {
        File::options().append(true).create(true).open(lock(marker)).unwrap();
    }
    assert_eq!(journal.archives(|_| true).unwrap().len(), 1);
    assert_eq!((lock("1").exists(), lock("2").exists()), (true, false));
}

#[test]
fn orphan_record_is_taken_over_once() {
    let (_folder, journal) = journal();
    assert!(orphans(&journal).is_empty());
    let record = journal.begin(intent("1")).unwrap().unwrap();
    record.add_upload("upload-1", Duration::ZERO).unwrap();
    assert!(orphans(&journal).is_empty());
    let owner = || journal.archives(|_| true).unwrap().get("backups/a.tar").copied();
    assert_eq!(owner(), Some(Owner::Alive));
    drop(record);
    assert_eq!(owner(), Some(Owner::Gone));
    assert!(journal.orphans("https://s3.example.org", "others", |_| true).unwrap().due.is_empty());
    let found = orphans(&journal);
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].intent, intent("1"));
    assert_eq!(found[0].upload_id.as_deref(), Some("upload-1"));
    let since = found[0].orphan_since.unwrap();
    assert!(orphans(&journal).is_empty());
    drop(found);
    let found = orphans(&journal);
    assert_eq!(owner(), Some(Owner::Gone));
    assert!(since.duration_since(found[0].orphan_since.unwrap()).unwrap().as_secs() < 2);
    found[0].delete();
    drop(found);
    assert!(orphans(&journal).is_empty());
    assert_eq!(owner(), None);
}

#[test]
fn truncated_record_is_read_up_to_the_cut() {
    let (_folder, journal) = journal();
    let record = journal.begin(intent("1")).unwrap().unwrap();
    record.add_upload("upload-1", Duration::ZERO).unwrap();
    let path = journal.folder.join("1.json");
    drop(record);
    let text = fs::read(&path).unwrap();
    let first = text.iter().position(|byte| *byte == b'\n').unwrap();
    for length in 0..text.len() {
        fs::write(&path, &text[..length]).unwrap();
        let found = orphans(&journal);
        let whole = length > first;
        assert_eq!((found.len(), path.exists()), (usize::from(whole), whole), "{length}");
        assert!(found.iter().all(|record| record.intent == intent("1")));
        let ids = found.iter().filter(|record| record.upload_id.is_some()).count();
        assert_eq!(ids, usize::from(length + 1 == text.len()), "{length}");
    }
}

#[test]
fn record_of_other_version_is_left_alone() {
    let (_folder, journal) = journal();
    drop(journal.begin(intent("1")).unwrap().unwrap());
    let path = journal.folder.join("1.json");
    let text = fs::read_to_string(&path).unwrap().replace("\"format\":1", "\"format\":2");
    fs::write(&path, text).unwrap();
    assert!(orphans(&journal).is_empty());
    assert!(path.exists());
}

#[test]
fn marker_that_is_not_a_file_name_is_not_recorded() {
    let (folder, journal) = journal();
    let outside = folder.path().join("outside");
    let absolute = outside.display().to_string();
    let long = "a".repeat(65);
    for marker in ["../../outside", &absolute, "", ".", "a/b", "a.b", "a\nb", &long] {
        assert!(journal.begin(intent(marker)).unwrap().is_none(), "{marker:?}");
    }
    let entries = std::fs::read_dir(folder.path()).unwrap();
    assert_eq!(entries.count(), 0);
    assert!(!outside.with_extension("json").exists());
}

#[test]
fn journal_with_too_many_files_is_not_used() {
    let (_folder, journal) = journal();
    let _record = journal.begin(intent("1")).unwrap().unwrap();
    for number in 0..MAX_FILES {
        fs::write(journal.folder.join(format!("{number}.json")), "").unwrap();
    }
    let error = journal.archives(|_| true).unwrap_err().to_string();
    assert!(error.contains("more than 1000 files"), "{error}");
}

#[test]
fn journal_lock_held_by_others_times_out() {
    let (_folder, journal) = journal();
    let _record = journal.begin(intent("1")).unwrap().unwrap();
    let held = folder_lock::acquire(&journal.folder, false).unwrap();
    let error = folder_lock::acquire(&journal.folder, true).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    drop(held);
    folder_lock::acquire(&journal.folder, true).unwrap();
}
