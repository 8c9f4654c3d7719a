//! The word for where an upload stands.

use super::upload::Phase;
use std::fmt;

/// The word for where an upload stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StateName {
    /// Nothing bound or stored yet.
    New,
    /// Taking bytes.
    Uploading,
    /// Complete; the backend has to take it.
    HandingOver,
    /// The backend has taken it.
    Finished,
    /// Cancelled or expired.
    Cancelled,
    /// The handover was given up.
    Failed,
}

impl StateName {
    /// Every state.
    pub const ALL: [Self; 6] = [
        Self::New,
        Self::Uploading,
        Self::HandingOver,
        Self::Finished,
        Self::Cancelled,
        Self::Failed,
    ];

    /// The word used on the wire.
    pub fn word(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Uploading => "uploading",
            Self::HandingOver => "handing_over",
            Self::Finished => "finished",
            Self::Cancelled => "cancelled",
            Self::Failed => "failed",
        }
    }

    /// The state of a word used on the wire.
    pub fn of_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.word() == word)
    }

    /// Whether nothing more will happen by itself.
    pub fn is_final(self) -> bool {
        matches!(self, Self::Finished | Self::Cancelled | Self::Failed)
    }
}

impl fmt::Display for StateName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

impl Phase {
    /// The word for it.
    pub fn state(&self) -> StateName {
        match self {
            Self::New => StateName::New,
            Self::Uploading => StateName::Uploading,
            Self::HandingOver(_) => StateName::HandingOver,
            Self::Finished { .. } => StateName::Finished,
            Self::Cancelled { .. } => StateName::Cancelled,
            Self::Failed { .. } => StateName::Failed,
        }
    }
}
