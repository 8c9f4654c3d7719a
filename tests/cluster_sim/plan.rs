//! What one schedule is made of: drawn from its seed before anything happens.

use crate::dice::Dice;
use incoming::core::event::Removal;
use incoming::core::limits::Limits;
use incoming::core::object_command::ObjectLimits;
use incoming::engine::objects::ObjectTuning;
use incoming::storage::memory::bucket::{BrokenPart, BucketRules, Etags, PartSizes, Unknown};
use incoming::storage::objects::OrphanRule;
use std::time::Duration;

/// Bytes of a cell, and of the smallest part that need not be the last.
pub(crate) const CELL: u64 = 8;
pub(crate) const MIN_PART: u64 = 5;

pub(crate) const IDLE: Duration = Duration::from_secs(3600);
pub(crate) const RETAIN: Duration = Duration::from_secs(1000);

#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) servers: u64,
    pub(crate) uploads: Vec<UploadPlan>,
    /// Steps with clients and faults; then everything must come to rest.
    pub(crate) steps: u64,
    pub(crate) bucket: BucketRules,
    /// One request in so many meets with a fault; 0: none.
    pub(crate) fault_in: u64,
    /// One step in so many stops, restarts or pauses a server.
    pub(crate) machine_in: u64,
    /// Holds are given to everybody at once.
    pub(crate) holds_are_void: bool,
    /// A missing object or multipart upload may be said to be missing for some seconds.
    pub(crate) flaky: bool,
    /// The log loses its last appends once in a while.
    pub(crate) set_back: bool,
    /// The store loses objects and multipart uploads.
    pub(crate) losses: bool,
    /// The backend never answers until it is given up.
    pub(crate) deaf_backend: bool,
    pub(crate) lifetime: Duration,
    /// How far the clock of each server is ahead, in milliseconds.
    pub(crate) ahead_ms: Vec<u64>,
    pub(crate) pieces_an_append: usize,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct UploadPlan {
    pub(crate) bytes: u64,
    pub(crate) clients: u64,
    pub(crate) actions: u64,
    pub(crate) may_cancel: bool,
    /// Whether clients say the length with their chunks.
    pub(crate) tells_length: bool,
    pub(crate) removal: Removal,
}

impl Plan {
    pub(crate) fn of(dice: &mut Dice) -> Self {
        let uploads = (0..dice.of(&[1, 1, 1, 2]))
            .map(|_| UploadPlan {
                bytes: dice.of(&[0, 3, 8, 13, 16, 20, 24, 30, 32, 41]),
                clients: dice.between(1, 3),
                actions: dice.between(1, 8),
                may_cancel: dice.once_in(8),
                tells_length: !dice.once_in(4),
                removal: dice.of(&[Removal::Keep, Removal::RemoveWhenFinished]),
            })
            .collect();
        let set_back = dice.once_in(8);
        // A log that was set back no longer says which numbers were used.
        let broken = if set_back { BrokenPart::Nothing } else { BrokenPart::Destroys };
        let servers = dice.of(&[2, 2, 3]);
        Self {
            servers,
            uploads,
            steps: dice.of(&[60, 150, 400]),
            bucket: BucketRules {
                orphans: dice.of(&[OrphanRule::Dropped, OrphanRule::Refused]),
                etags: dice.of(&[Etags::OfContent, Etags::OfRequest]),
                min_part_bytes: MIN_PART,
                sizes: dice.of(&[PartSizes::Any, PartSizes::Equal]),
                unknown: dice.of(&[Unknown::Gone, Unknown::Unclear]),
                broken,
            },
            fault_in: dice.of(&[0, 4, 8, 20]),
            machine_in: dice.of(&[0, 12, 40]),
            holds_are_void: dice.once_in(4),
            flaky: dice.once_in(6),
            set_back,
            // An object that a stranger has changed, and of which no record is left, is known by its length alone.
            losses: dice.once_in(8) && !set_back,
            deaf_backend: dice.once_in(6),
            lifetime: Duration::from_secs(dice.of(&[20, 100_000])),
            ahead_ms: (0..servers).map(|_| dice.of(&[0, 0, 5_000, 600_000])).collect(),
            pieces_an_append: usize::try_from(dice.of(&[1, 2, 100])).unwrap(),
        }
    }

    pub(crate) fn tuning(&self) -> ObjectTuning {
        ObjectTuning {
            multipart_lifetime: self.lifetime,
            hold: Duration::from_secs(15),
            call_hold: Duration::from_secs(90),
            second_look: Duration::from_secs(60),
            pause: Duration::from_millis(100),
            tries: 5,
        }
    }

    pub(crate) fn limits(&self) -> ObjectLimits {
        let limits =
            Limits { max_chunk_bytes: None, max_upload_bytes: Some(1000), grid_bytes: None };
        ObjectLimits { limits, part_bytes: CELL }
    }
}
