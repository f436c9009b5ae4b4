//! Metadata objects of any program: read or refused, and always within the limits. Everything that
//! the agent writes reads back.
#![no_main]

use libfuzzer_sys::fuzz_target;
use s3_backup_agent::Code;
use s3_backup_agent::archives::metadata::{Checksums, depth, read, write};
use s3_backup_agent::protocol::MAX_METADATA_DEPTH;
use s3_backup_agent::s3::PartChecksums;

/// Number of members that the agent adds for other readers.
const FILLED_IN: usize = 11;

fuzz_target!(|data: &[u8]| {
    let document = match read(data) {
        Ok(document) => document,
        Err(error) => return assert_eq!(error.code(), Code::CorruptMetadata),
    };
    assert!(!document.id.is_empty() && !document.metadata.contains_key("s3_backup_agent"));
    assert!(depth(&document.metadata) <= MAX_METADATA_DEPTH);
    assert!(document.checksums.is_none() || document.fault.is_none());
    if let Some(fault) = &document.fault {
        assert!(matches!(fault.code(), Code::CorruptMetadata | Code::UnsupportedFeature));
    }
    let checksums = document.checksums.unwrap_or_else(|| Checksums {
        size: data.len() as u64,
        part_size: data.len() as u64,
        parts: vec![PartChecksums { sha256: [data[0]; 32], crc64nvme: Some(data[0].into()) }],
    });
    assert_eq!(checksums.size.div_ceil(checksums.part_size), checksums.parts.len() as u64);
    let written =
        write(document.metadata.clone(), &document.id, "Name", checksums.size, Some(&checksums));
    let again = read(&written).unwrap();
    assert_eq!(
        (&again.id, again.checksums, again.fault.is_none()),
        (&document.id, Some(checksums), true)
    );
    assert!(again.metadata.len() <= document.metadata.len() + FILLED_IN);
    for (member, value) in &document.metadata {
        assert_eq!(again.metadata.get(member), Some(value), "{member}");
    }
    assert_eq!(again.size, again.metadata["size"].as_u64());
});
