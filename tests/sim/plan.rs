//! What one schedule is made of: drawn from its seed before anything happens.

use crate::dice::Dice;
use incoming::core::event::Durability;
use incoming::core::limits::Limits;
use incoming::core::retry::RetryPolicy;
use incoming::engine::options::Options;
use incoming::engine::options::Tuning;
use incoming::storage::local::options::LocalOptions;
use std::time::Duration;

/// How a life of the server ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Death {
    /// The process is killed: what was written stays.
    Crash,
    /// The power goes: what was synced stays, and any mixture of the rest.
    PowerCut,
    /// It is asked to stop, ends cleanly, and then the power goes.
    StopAndPowerCut,
    /// It is asked to stop and started again.
    Stop,
}

/// One life of the server.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Life {
    pub(crate) death: Death,
    /// It dies at this step of the disk, unless everything is quiet before.
    pub(crate) steps: u64,
    /// One step of the disk in so many fails; 0: none.
    pub(crate) fault_in: u64,
    /// What fails is a full disk, not a broken one.
    pub(crate) only_full: bool,
    /// One look in so many finds the disk slow; 0: never.
    pub(crate) slow_in: u64,
    /// New tickets at its start.
    pub(crate) tickets: u64,
    /// Clients for each upload.
    pub(crate) clients: u64,
}

#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) ack: Durability,
    pub(crate) lives: Vec<Life>,
    pub(crate) largest_file: u64,
    pub(crate) tuning: Tuning,
    pub(crate) local: LocalOptions,
    /// Work on a blocking thread waits for up to so many turns.
    pub(crate) turns: u64,
    pub(crate) allocates: bool,
    pub(crate) min_free_bytes: u64,
    /// Some clients append, as those of tus and of the IETF's draft do.
    pub(crate) appends: bool,
    /// Some uploads are parts of files, which are made of them.
    pub(crate) joins: bool,
    /// Rounds of storage work are interleaved with each other, call by call, as those of threads are.
    pub(crate) interleaves: bool,
    /// One sync of a part in so many fails, and nothing else; 0: as each life says.
    pub(crate) sync_fault_in: u64,
}

const MIN_FREE_BYTES: u64 = 1000;
pub(crate) const IDLE: Duration = Duration::from_secs(300);
pub(crate) const RETAIN: Duration = Duration::from_secs(200);
pub(crate) const FAILED_RETENTION: Duration = Duration::from_secs(400);
pub(crate) const CONFIRM: Duration = Duration::from_secs(90);
pub(crate) const RETRY_FOR: Duration = Duration::from_secs(60);
pub(crate) const BODY_TIMEOUT: Duration = Duration::from_secs(30);
pub(crate) const CALL_TIMEOUT: Duration = Duration::from_secs(55);

impl Plan {
    pub(crate) fn of(dice: &mut Dice) -> Self {
        let ack = dice.of(&[Durability::Durable, Durability::Written]);
        let faulty = dice.of(&[0, 0, 0, 400, 120, 40]);
        let slow_in = dice.of(&[0, 0, 4, 2]);
        let lives = (0..dice.between(0, 5)).map(|number| Life {
            death: dice.of(&[
                Death::Crash,
                Death::Crash,
                Death::PowerCut,
                Death::PowerCut,
                Death::StopAndPowerCut,
                Death::Stop,
            ]),
            steps: dice.of(&[20, 60, 200, u64::MAX]).saturating_sub(dice.below(20)),
            fault_in: if dice.once_in(3) { 0 } else { faulty },
            only_full: dice.once_in(2),
            slow_in,
            tickets: if number == 0 { dice.between(1, 3) } else { dice.below(2) },
            clients: dice.between(1, 4),
        });
        let lives = lives.collect();
        Self {
            ack,
            lives,
            largest_file: dice.of(&[16, 200, 3000]),
            tuning: Tuning {
                batch_bytes: usize::try_from(dice.of(&[8, 100, 1000])).unwrap(),
                checkpoint_bytes: dice.of(&[10, 150, 1 << 20]),
            },
            local: LocalOptions {
                first_stretch_bytes: dice.of(&[16, 128, 8 << 20]),
                sync_point_bytes: dice.of(&[1, 100, 1000]),
                compact_bytes: dice.of(&[0, 200, 600, 64 << 10]),
                compact_factor: dice.of(&[1, 1, 2]),
                ..LocalOptions::new(ack, MIN_FREE_BYTES, 64 << 10)
            },
            turns: dice.of(&[0, 1, 3, 12]),
            allocates: dice.once_in(2),
            min_free_bytes: MIN_FREE_BYTES,
            appends: false,
            joins: false,
            interleaves: false,
            sync_fault_in: 0,
        }
    }

    /// Of some seeds, not drawn: the schedules of the others stay what they were.
    pub(crate) fn vary(&mut self, seed: u64) {
        self.appends = seed % 5 == 1;
        self.joins = seed % 5 == 2;
        self.interleaves = seed % 11 == 7;
        if seed % 22 == 7 {
            // Bytes are acknowledged before they are synced, which happens soon, and fails.
            self.ack = Durability::Written;
            self.local.ack = Durability::Written;
            self.local.sync_point_bytes = 1;
            self.local.max_ahead_bytes = if seed % 44 == 7 { 20 } else { u64::MAX };
            self.sync_fault_in = 2;
            // A body is counted again and again, and its end comes while the bytes before are synced.
            self.largest_file = 200;
            self.tuning = Tuning { batch_bytes: 8, checkpoint_bytes: 10 };
            for life in &mut self.lives {
                life.fault_in = 1;
                life.steps = life.steps.max(200);
            }
        }
    }

    pub(crate) fn options(&self) -> Options {
        Options {
            ack: self.ack,
            limits: Limits { max_chunk_bytes: None, max_upload_bytes: None, grid_bytes: None },
            max_uploads: 100,
            min_free_bytes: self.min_free_bytes,
            max_idle: IDLE,
            retain_finished: RETAIN,
            failed_retention: FAILED_RETENTION,
            call_timeout: std::time::Duration::from_secs(55),
            calls: RetryPolicy { confirm_timeout: CONFIRM, retry_for: RETRY_FOR },
            body_timeout: BODY_TIMEOUT,
            min_rate: 0,
            tuning: self.tuning,
        }
    }
}
