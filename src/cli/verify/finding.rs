//! What can be found: each kind has a word for programs and a rank for people.

use std::path::Path;

use crate::core::id::TicketId;

/// One thing that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Finding {
    /// Of which upload, where it belongs to one.
    pub(super) id: Option<TicketId>,
    pub(super) kind: Kind,
    /// In words, on one line.
    pub(super) detail: String,
}

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Rank {
    /// Something that was promised is not so, or cannot be told.
    Damaged,
    /// Worth knowing: a crash leaves it, and the server lives with it.
    Note,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// The journal cannot be read as one of this upload.
    JournalUnreadable,
    /// A damaged record hides whole ones.
    JournalBroken,
    /// What the journal says cannot all be true.
    JournalContradicts,
    PartMissing,
    PartShort,
    PartUnreadable,
    FileMissing,
    FileLength,
    FileUnreadable,
    DigestMismatch,
    /// A part without a journal.
    PartAlone,
    /// Asked for by name, and not there.
    Unknown,
    /// A published file without a journal.
    FileAlone,
    /// The end of the journal is no whole record.
    TornTail,
    /// A journal without a whole first record, and nothing beside it.
    JournalUnborn,
    /// A journal in the making.
    Leftover,
    /// Bytes that a recorded end has released.
    BytesLeft,
    /// A failed write or sync was noted.
    FaultNoted,
    /// The file is gone while the backend works on it.
    FileTaken,
}

impl Kind {
    /// For programs.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::JournalUnreadable => "journal-unreadable",
            Self::JournalBroken => "journal-broken",
            Self::JournalContradicts => "journal-contradicts",
            Self::PartMissing => "part-missing",
            Self::PartShort => "part-short",
            Self::PartUnreadable => "part-unreadable",
            Self::FileMissing => "file-missing",
            Self::FileLength => "file-length",
            Self::FileUnreadable => "file-unreadable",
            Self::DigestMismatch => "digest-mismatch",
            Self::PartAlone => "part-without-journal",
            Self::Unknown => "unknown-upload",
            Self::FileAlone => "file-without-journal",
            Self::TornTail => "torn-tail",
            Self::JournalUnborn => "journal-unborn",
            Self::Leftover => "journal-in-the-making",
            Self::BytesLeft => "bytes-left",
            Self::FaultNoted => "fault-noted",
            Self::FileTaken => "file-taken",
        }
    }

    pub(super) fn rank(self) -> Rank {
        match self {
            Self::JournalUnreadable
            | Self::JournalBroken
            | Self::JournalContradicts
            | Self::PartMissing
            | Self::PartShort
            | Self::PartUnreadable
            | Self::FileMissing
            | Self::FileLength
            | Self::FileUnreadable
            | Self::DigestMismatch
            | Self::PartAlone
            | Self::Unknown => Rank::Damaged,
            Self::FileAlone
            | Self::TornTail
            | Self::JournalUnborn
            | Self::Leftover
            | Self::BytesLeft
            | Self::FaultNoted
            | Self::FileTaken => Rank::Note,
        }
    }
}

impl Rank {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Damaged => "damaged",
            Self::Note => "note",
        }
    }
}

impl Finding {
    pub(super) fn new(id: TicketId, kind: Kind, detail: impl Into<String>) -> Self {
        Self { id: Some(id), kind, detail: detail.into() }
    }

    /// A journal in the making, which no upload knows yet.
    pub(super) fn leftover(path: &Path) -> Self {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let detail = format!(
            "{name}: a journal being created, or left by a crash; the next start removes it"
        );
        Self { id: None, kind: Kind::Leftover, detail }
    }
}
