//! All that was found, for people and for programs.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use serde_json::json;

use super::finding::{Finding, Rank};
use crate::cli::terminal;
use crate::core::units;

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
