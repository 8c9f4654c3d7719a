//! Whether an upload takes the bytes that a request offers, decided before the first of them.

use super::command::{At, BodyScope, Offer};
use super::extent::{Extent, ExtentSet};
use super::limits::{Limits, MAX_DISJOINT_EXTENTS};
use super::refusal::{Refusal, Terminal};
use super::upload::{Phase, Upload};

impl Upload {
    /// The bytes of `offer` that are still to be stored; empty where all are known already.
    ///
    /// Errors: every reason not to take the chunk, before its first byte.
    pub fn admit(&self, offer: &Offer, limits: &Limits) -> Result<ExtentSet, Refusal> {
        self.check_takes_bytes()?;
        self.check_at(offer.at)?;
        if let Some(length) = offer.length {
            self.check_length(length, limits)?;
        }
        let length = self.length().or(offer.length);
        let bounded = match (offer.extent, offer.scope, length) {
            (None, _, _) => None,
            (Some(extent), BodyScope::Range, Some(length)) if extent.end() > length => {
                return Err(Refusal::RangeOutside { end: extent.end(), length });
            }
            (Some(extent), BodyScope::ToEnd | BodyScope::Open, Some(length)) => {
                Extent::new(extent.start(), extent.end().min(length))
            }
            (Some(extent), _, _) => Some(extent),
        };
        // A body of unknown length is checked as it arrives.
        let sized = match offer.scope {
            BodyScope::Range => true,
            BodyScope::ToEnd => offer.length.is_some(),
            BodyScope::Open => false,
        };
        if let Some(extent) = bounded.filter(|_| sized) {
            if let Some(limit) = limits.max_chunk_bytes.filter(|limit| extent.len() > *limit) {
                return Err(Refusal::ChunkTooLarge { chunk: extent.len(), limit });
            }
            self.check_size(extent.end(), limits)?;
        }
        let missing = bounded.map(|extent| self.received().missing_in(extent)).unwrap_or_default();
        match self.phase() {
            Phase::New | Phase::Uploading => {
                if !missing.is_empty() && self.received().as_slice().len() >= MAX_DISJOINT_EXTENTS {
                    self.check_holes(&missing)?;
                }
                Ok(missing)
            }
            Phase::HandingOver(_) | Phase::Finished { .. } => Ok(missing),
            Phase::Cancelled { .. } => Err(Refusal::UploadOver(Terminal::Cancelled)),
            Phase::Failed { .. } => Err(Refusal::UploadOver(Terminal::Failed)),
        }
    }

    /// An upload that is over has no end to append at.
    fn check_at(&self, at: At) -> Result<(), Refusal> {
        let At::Prefix(offered) = at else { return Ok(()) };
        match self.phase() {
            Phase::Cancelled { .. } => return Err(Refusal::UploadOver(Terminal::Cancelled)),
            Phase::Failed { .. } => return Err(Refusal::UploadOver(Terminal::Failed)),
            Phase::New | Phase::Uploading | Phase::HandingOver(_) | Phase::Finished { .. } => {}
        }
        let expected = self.received().contiguous_from_zero();
        if offered == expected {
            Ok(())
        } else {
            Err(Refusal::OffsetMismatch { expected, offered })
        }
    }

    /// A chunk that leaves as many ranges or fewer is welcome however many there are (chunks in flight may have made a few
    /// more than the limit); one that adds a range is not.
    fn check_holes(&self, missing: &ExtentSet) -> Result<(), Refusal> {
        let mut after = self.received().clone();
        after.insert_all(missing);
        if after.as_slice().len() > self.received().as_slice().len() {
            return Err(Refusal::TooManyHoles { limit: MAX_DISJOINT_EXTENTS });
        }
        Ok(())
    }

    fn check_size(&self, bytes: u64, limits: &Limits) -> Result<(), Refusal> {
        let limit = self.max_file_bytes(limits);
        if bytes > limit { Err(limits.too_large(bytes, limit)) } else { Ok(()) }
    }

    /// The largest file this upload may hold, in bytes.
    pub fn max_file_bytes(&self, limits: &Limits) -> u64 {
        limits.max_file_bytes(self.ticket().max_bytes)
    }

    pub(super) fn check_length(&self, offered: u64, limits: &Limits) -> Result<(), Refusal> {
        match self.length() {
            Some(known) if known != offered => Err(Refusal::LengthChanged { known, offered }),
            Some(_) => Ok(()),
            None => {
                self.check_size(offered, limits)?;
                let stored = self.received().end();
                if stored > offered {
                    return Err(Refusal::LengthChanged { known: stored, offered });
                }
                Ok(())
            }
        }
    }
}
