//! Checksums of parts.

use crc_fast::CrcAlgorithm::Crc64Nvme;
use sha2::{Digest as _, Sha256};

/// A SHA-256 checksum.
pub type Sha256Digest = [u8; 32];

/// The checksums of a part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartChecksums {
    /// SHA-256, which the signature of the request covers.
    pub sha256: Sha256Digest,
    /// CRC-64/NVME, the checksum that AWS computes for every object; `None` when it was not
    /// recorded.
    pub crc64nvme: Option<u64>,
}

impl PartChecksums {
    /// Computes the checksums of the concatenated `slices`.
    #[must_use]
    pub fn of<'a>(slices: impl Iterator<Item = &'a [u8]>) -> Self {
        let (mut sha256, mut crc64nvme) = (Sha256::new(), crc_fast::Digest::new(Crc64Nvme));
        for slice in slices {
            sha256.update(slice);
            crc64nvme.update(slice);
        }
        Self { sha256: sha256.finalize().into(), crc64nvme: Some(crc64nvme.finalize()) }
    }

    /// Whether the checksums match the concatenated `slices`. The CRC costs a small part of what
    /// SHA-256 does and misses an accidental change once in 2^64; when it is unknown or differs,
    /// SHA-256 decides.
    #[must_use]
    pub fn matches<'a>(&self, slices: impl Iterator<Item = &'a [u8]> + Clone) -> bool {
        self.crc64nvme.is_some_and(|known| known == crc64nvme(slices.clone()))
            || self.sha256 == sha256(slices)
    }
}

fn crc64nvme<'a>(slices: impl Iterator<Item = &'a [u8]>) -> u64 {
    let mut digest = crc_fast::Digest::new(Crc64Nvme);
    slices.for_each(|slice| digest.update(slice));
    digest.finalize()
}

fn sha256<'a>(slices: impl Iterator<Item = &'a [u8]>) -> Sha256Digest {
    slices.fold(Sha256::new(), |digest, slice| digest.chain_update(slice)).finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_match_published_test_vectors() {
        // The check value of the catalog of CRCs, and the test vector of FIPS 180-2.
        let digits = PartChecksums::of([&b"1234"[..], b"", b"56789"].into_iter());
        assert_eq!(digits.crc64nvme, Some(0xae8b_1486_0a79_9888));
        let letters = PartChecksums::of([&b"ab"[..], b"c"].into_iter());
        assert_eq!(letters.sha256[..4], [0xba, 0x78, 0x16, 0xbf]);
        assert_eq!(letters.sha256[28..], [0xf2, 0x00, 0x15, 0xad]);
    }

    #[test]
    fn sha256_decides_when_crc_differs_or_is_missing() {
        let content = || [&b"some"[..], b"thing"].into_iter();
        let right = PartChecksums::of(content());
        for (digest, expected) in [
            (right, true),
            (PartChecksums { crc64nvme: None, ..right }, true),
            (PartChecksums { crc64nvme: Some(1), ..right }, true),
            (PartChecksums { sha256: [1; 32], crc64nvme: None }, false),
            (PartChecksums { sha256: [1; 32], crc64nvme: Some(1) }, false),
        ] {
            assert_eq!(digest.matches(content()), expected, "{digest:?}");
        }
        for other in [&b"somethinh"[..], b"somethin", b"somethingg", b""] {
            assert!(!right.matches([other].into_iter()));
        }
    }
}
