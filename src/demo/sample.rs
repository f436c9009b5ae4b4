//! Content of the demo's backup: a real backup, or any number of random bytes.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use serde_json::{Value, json};
use tokio::io::{AsyncRead, ReadBuf};

use crate::progress::Progress;

/// A backup of an empty configuration, made by Home Assistant 2026.11.0.
pub(super) const BACKUP: &[u8] =
    include_bytes!("../../tests/data/Automatic_backup_2026.11.0_2026-11-20_04.32_33282898.tar");

/// The name that Home Assistant gave it.
pub(super) const BACKUP_NAME: &str = "Automatic_backup_2026.11.0_2026-11-20_04.32_33282898";

/// Bytes that can be generated twice: to store them, and to compare.
#[derive(Clone, Debug)]
pub(super) struct Sample {
    size: u64,
    position: u64,
    /// None means the bytes of [`BACKUP`].
    seed: Option<u64>,
    progress: Progress,
}

impl Sample {
    pub(super) fn backup() -> Self {
        Self { size: BACKUP.len() as u64, position: 0, seed: None, progress: Progress::default() }
    }

    pub(super) fn random(size: u64) -> Self {
        Self { size, position: 0, seed: Some(fastrand::u64(..)), progress: Progress::default() }
    }

    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// The same bytes, counted on `progress`.
    pub(super) fn counted_on(&self, progress: &Progress) -> Self {
        Self { progress: progress.clone(), ..self.clone() }
    }

    /// The parameters for `backup.upload`.
    pub(super) fn description(&self) -> Value {
        if self.seed.is_some() {
            return json!({"id": "demo", "name": "Random bytes", "metadata": {}});
        }
        let metadata = json!({
            "addons": [],
            "backup_id": "b52acd05",
            "date": "2026-11-20T04:32:33.282898+00:00",
            "database_included": false,
            "extra_metadata": {
                "instance_id": "4258f62416264697a159134f98437644",
                "with_automatic_settings": false,
            },
            "folders": [],
            "homeassistant_included": true,
            "homeassistant_version": "2026.11.0",
            "name": "Automatic backup 2026.11.0",
            "protected": false,
            "size": self.size,
        });
        json!({"id": "b52acd05", "name": BACKUP_NAME, "metadata": metadata})
    }

    /// Fills the buffer with the next bytes; returns how many.
    pub(super) fn fill(&mut self, buffer: &mut [u8]) -> usize {
        let left = usize::try_from(self.size - self.position).unwrap_or(usize::MAX);
        let wanted = left.min(buffer.len());
        for byte in buffer.iter_mut().take(wanted) {
            *byte = self.byte(self.position);
            self.position += 1;
        }
        self.progress.add(wanted as u64);
        wanted
    }

    fn byte(&self, position: u64) -> u8 {
        match self.seed {
            None => {
                let at = usize::try_from(position).ok();
                at.and_then(|at| BACKUP.get(at)).copied().unwrap_or_default()
            }
            // SplitMix64 of the seed and the position.
            Some(seed) => {
                let mut word =
                    seed.wrapping_add((position / 8).wrapping_mul(0x9e37_79b9_7f4a_7c15));
                word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
                word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
                let [byte, ..] = ((word ^ (word >> 31)) >> (position % 8 * 8)).to_le_bytes();
                byte
            }
        }
    }
}

impl AsyncRead for Sample {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let filled = self.fill(buffer.initialize_unfilled());
        buffer.advance(filled);
        Poll::Ready(Ok(()))
    }
}
