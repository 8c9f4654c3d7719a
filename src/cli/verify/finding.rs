//! What can be found, each kind with a word for programs and a rank for people; and all of it, as they read it.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use serde_json::json;

use crate::cli::terminal;
use crate::core::id::TicketId;
use crate::core::units;

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
    /// How bad it is, and its word for programs.
    fn facts(self) -> (Rank, &'static str) {
        match self {
            Self::JournalUnreadable => (Rank::Damaged, "journal-unreadable"),
            Self::JournalBroken => (Rank::Damaged, "journal-broken"),
            Self::JournalContradicts => (Rank::Damaged, "journal-contradicts"),
            Self::PartMissing => (Rank::Damaged, "part-missing"),
            Self::PartShort => (Rank::Damaged, "part-short"),
            Self::PartUnreadable => (Rank::Damaged, "part-unreadable"),
            Self::FileMissing => (Rank::Damaged, "file-missing"),
            Self::FileLength => (Rank::Damaged, "file-length"),
            Self::FileUnreadable => (Rank::Damaged, "file-unreadable"),
            Self::DigestMismatch => (Rank::Damaged, "digest-mismatch"),
            Self::PartAlone => (Rank::Damaged, "part-without-journal"),
            Self::Unknown => (Rank::Damaged, "unknown-upload"),
            Self::FileAlone => (Rank::Note, "file-without-journal"),
            Self::TornTail => (Rank::Note, "torn-tail"),
            Self::JournalUnborn => (Rank::Note, "journal-unborn"),
            Self::Leftover => (Rank::Note, "journal-in-the-making"),
            Self::BytesLeft => (Rank::Note, "bytes-left"),
            Self::FaultNoted => (Rank::Note, "fault-noted"),
            Self::FileTaken => (Rank::Note, "file-taken"),
        }
    }

    pub(super) fn rank(self) -> Rank {
        self.facts().0
    }

    /// For programs.
    pub(super) fn word(self) -> &'static str {
        self.facts().1
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

/// The outcome of an examination.
pub(super) struct Report {
    dir: PathBuf,
    /// Uploads looked at.
    pub(super) uploads: usize,
    /// Bytes of files read.
    pub(super) bytes: u64,
    pub(super) findings: Vec<Finding>,
}

impl Report {
    pub(super) fn new(dir: &Path) -> Self {
        Self { dir: dir.to_owned(), uploads: 0, bytes: 0, findings: Vec::new() }
    }

    /// How much is damaged.
    pub(super) fn damaged(&self) -> usize {
        self.findings.iter().filter(|finding| finding.kind.rank() == Rank::Damaged).count()
    }

    /// A line for each finding, and one for all.
    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        for Finding { id, kind, detail } in &self.findings {
            let id = id.map_or_else(|| "-".to_owned(), |id| id.to_string());
            let (rank, kind) = (kind.rank().word(), kind.word());
            let detail = terminal::text(detail);
            let _ = writeln!(text, "{rank:8}{id:38}{kind}: {detail}");
        }
        let (damaged, notes) = (self.damaged(), self.findings.len() - self.damaged());
        let _ = write!(text, "{}: {} uploads, ", terminal::path(&self.dir), self.uploads);
        let _ = match damaged {
            0 => write!(text, "nothing damaged"),
            count => write!(text, "{count} found damaged"),
        };
        let _ = match notes {
            0 => Ok(()),
            1 => write!(text, ", 1 note"),
            count => write!(text, ", {count} notes"),
        };
        let _ = match self.bytes {
            0 => writeln!(text),
            bytes => writeln!(text, "; {} read", units::size(bytes)),
        };
        text
    }

    /// The same as one object.
    pub(super) fn json(&self) -> String {
        let findings = self.findings.iter().map(|Finding { id, kind, detail }| {
            json!({
                "rank": kind.rank().word(),
                "kind": kind.word(),
                "id": id.map(|id| id.to_string()),
                "detail": detail,
            })
        });
        let damaged = self.damaged();
        let all = json!({
            "storage_dir": self.dir.display().to_string(),
            "uploads": self.uploads,
            "damaged": damaged,
            "notes": self.findings.len() - damaged,
            "bytes_read": self.bytes,
            "findings": findings.collect::<Vec<_>>(),
        });
        terminal::json_lines(&all).unwrap_or_default() + "\n"
    }
}
