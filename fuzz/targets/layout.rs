//! Names and keys: for any name and any folder of a backup, its keys lead back to it, and to
//! nothing else.
#![no_main]

use std::collections::HashSet;

use libfuzzer_sys::fuzz_target;
use s3_backup_agent::Code;
use s3_backup_agent::archives::Layout;
use s3_backup_agent::archives::layout::{PairKey, candidates, safe};

/// Longest key that S3 accepts, in bytes.
const LONGEST_KEY: usize = 1024;

fuzz_target!(|data: &[u8]| {
    let text = String::from_utf8_lossy(data);
    let mut parts = text.splitn(5, '\0');
    let mut next = || parts.next().unwrap_or_default();
    let (prefix, folder, wished, id, key) = (next(), next(), next(), next(), next());
    let names: Vec<_> = candidates(wished, id).take(5).collect();
    assert_eq!(names.iter().collect::<HashSet<_>>().len(), names.len(), "{names:?}");
    for name in &names {
        assert!(!name.is_empty() && !matches!(name.as_str(), "." | ".."), "{name:?}");
        assert!(!name.starts_with('.') && name.trim() == name, "{name:?}");
        assert!(!name.contains(['/', '\\']) && !name.contains(char::is_control), "{name:?}");
    }
    assert_eq!(safe(&names[0]), names[0]);
    let layout = match Layout::new(prefix, folder) {
        Ok(layout) => layout,
        Err(error) => {
            assert_eq!(error.code(), Code::InvalidConfig);
            assert!(matches!(error.data().field.as_deref(), Some("prefix" | "folder")));
            return;
        }
    };
    let folder = layout.folder();
    assert!(folder.is_empty() || (folder.ends_with('/') && !folder.starts_with('/')));
    assert!(!folder.contains("//") && !folder.split('/').any(|part| matches!(part, "." | "..")));
    for name in &names {
        let (archive, metadata) = (layout.archive_key(name), layout.metadata_key(name));
        assert!(archive.len() <= LONGEST_KEY && metadata.len() <= LONGEST_KEY);
        assert_eq!(layout.pair_key(&archive), Some(PairKey::Archive(name)));
        assert_eq!(layout.pair_key(&metadata), Some(PairKey::Metadata(name)));
    }
    match layout.pair_key(key) {
        Some(PairKey::Archive(name)) => assert_eq!(layout.archive_key(name), key),
        Some(PairKey::Metadata(name)) => assert_eq!(layout.metadata_key(name), key),
        None => {}
    }
});
