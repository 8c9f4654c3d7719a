//! The log of one upload in object storage, as the commit queue appends to it.

use super::{InMemory, unavailable};
use crate::core::event::Event;
use crate::core::extent::ExtentSet;
use crate::core::refusal::Refusal;
use crate::engine::objects::{Backing, ObjectChangeError, View};
use crate::storage::journal::{Append, Appended, Log, Read, Version};
use crate::storage::promised::Promised;
use crate::storage::store::StoreError;
use std::sync::Arc;

pub(super) struct BucketLog<B: Backing + 'static>(pub(super) Arc<InMemory<B>>);

impl<B: Backing + 'static> BucketLog<B> {
    /// Appends unless another server has said something of the upload since `expected`; what is about pieces alone may
    /// stand there.
    async fn append_behind(
        &self,
        expected: Version,
        append: Append,
    ) -> Result<Appended, StoreError> {
        let (engine, id) = (&self.0.shared.engine, self.0.id);
        for _ in 0..MOST_TRIES {
            let view = match engine.view(id).await {
                Err(ObjectChangeError::Unknown) => return Ok(Appended::Behind),
                view => view.map_err(unavailable)?,
            };
            if !is_at(&view, expected) {
                return Ok(Appended::Behind);
            }
            let staged = self.0.staging.all();
            let limits = engine.backing().limits();
            let Some(events) = view.upload.recorded(&append.events, &staged, &limits) else {
                // The bucket did not take some of the bytes.
                return Err(StoreError::Unavailable);
            };
            let appended = engine.append(id, &view, events.into()).await;
            if !matches!(appended, Ok(None)) {
                // Also where it may be appended yet: nothing that it names is removed.
                self.counted(&append.events);
            }
            if let Some(view) = appended.map_err(unavailable)? {
                engine.remember(id, &view);
                if let Some(state) = append.state {
                    self.0.shared.note_state(id, state);
                }
                return Ok(Appended::At(version(&view)));
            }
        }
        Err(StoreError::Unavailable)
    }

    fn counted(&self, events: &[Event]) {
        let mut bytes = ExtentSet::new();
        for event in events {
            if let Event::Stored { extent, .. } = event {
                bytes.insert(*extent);
            }
        }
        self.0.staging.counted(&bytes);
    }

    async fn read_behind(&self, since: Version) -> Result<Read, StoreError> {
        let view = match self.0.shared.engine.view(self.0.id).await {
            Err(ObjectChangeError::Unknown) => return Ok(Read::Unknown),
            view => view.map_err(unavailable)?,
        };
        if is_at(&view, since) {
            return Ok(Read::More(Vec::new(), since));
        }
        Ok(Read::Now(Box::new(view.upload.upload().clone()), version(&view)))
    }
}

/// Up to where an upload is known.
pub(super) fn version(view: &View) -> Version {
    Version { history: view.history, number: view.seen.seq }
}

/// Whether nothing but what pieces are about was appended since.
pub(super) fn is_at(view: &View, known: Version) -> bool {
    view.history == known.history && view.plain_seq <= known.number && known.number <= view.seen.seq
}

/// What was read is in the log, and what is appended is durable.
impl<B: Backing + 'static> Log for BucketLog<B> {
    fn append(
        &self,
        expected: Version,
        append: Append,
    ) -> Promised<'_, Result<Appended, StoreError>> {
        Promised::later(self.append_behind(expected, append))
    }

    fn check_pieces(&self, missing: &ExtentSet, length: Option<u64>) -> Result<(), Refusal> {
        let view = self.0.shared.engine.remembered(self.0.id);
        view.map_or(Ok(()), |view| view.upload.check_pieces(missing, length))
    }

    fn pieces(&self) -> u64 {
        let view = self.0.shared.engine.remembered(self.0.id);
        view.map_or(0, |view| view.upload.pieces().count())
    }

    /// What is recorded as the file is an object that is there.
    fn records_publish_first(&self) -> bool {
        true
    }

    fn read(&self, since: Version) -> Promised<'_, Result<Read, StoreError>> {
        Promised::later(self.read_behind(since))
    }
}

/// How often an append is tried behind what procedures of pieces append meanwhile.
const MOST_TRIES: u32 = 16;
