//! The least that can be done with a chunk: write its frames at their offsets, preallocate and sync
//! if asked.

use crate::frames::{Cut, Frames};
use crate::{CHUNK_BYTES, FILE_BYTES};
use bytes::Bytes;
use incoming::core::event::Durability;
use rustix::fs::{FallocateFlags, fallocate};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

/// When a chunk's space is taken.
#[derive(Clone, Copy)]
pub enum Space {
    /// By the writes.
    AsItComes,
    /// For the whole chunk before its first byte, as the engine does.
    Ahead,
}

/// Writes one chunk behind the other into a file without a name.
pub struct Floor {
    frames: Frames,
    ack: Durability,
    space: Space,
    file: File,
    offset: u64,
}

impl Floor {
    pub fn new(payload: &Bytes, cut: Cut, ack: Durability, space: Space) -> Self {
        Self { frames: Frames::new(payload, cut), ack, space, file: file(), offset: 0 }
    }

    /// Writes so many chunks. Answers how long that took.
    pub fn write(&mut self, chunks: u64) -> Duration {
        let mut took = Duration::ZERO;
        for _ in 0..chunks {
            if self.offset >= FILE_BYTES {
                (self.file, self.offset) = (file(), 0);
            }
            let began = Instant::now();
            let mut offset = self.offset;
            match self.space {
                Space::AsItComes => {}
                Space::Ahead => {
                    let keep_size = FallocateFlags::KEEP_SIZE;
                    fallocate(&self.file, keep_size, offset, CHUNK_BYTES as u64).unwrap();
                }
            }
            for frame in self.frames.clone() {
                self.file.write_all_at(&frame, offset).unwrap();
                offset += frame.len() as u64;
            }
            match self.ack {
                Durability::Written => {}
                Durability::Durable => self.file.sync_data().unwrap(),
            }
            took += began.elapsed();
            self.offset += CHUNK_BYTES as u64;
        }
        took
    }
}

fn file() -> File {
    tempfile::tempfile_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}
