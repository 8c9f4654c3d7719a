//! `incoming verify`: journals, parts and published files of a storage directory against each other.
//!
//! It changes nothing, takes no lock and needs no server. A running one may use the directory
//! meanwhile: what is found wrong is looked at again a moment later, and only what is still so is told.

mod examine;
mod finding;

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use self::examine::{Depth, StoredUploads};
use self::finding::{Finding, Kind, Report};
use super::uploads::{IdError, is_beginning, only};
use super::{CliError, print, server_settings, terminal};
use crate::core::id::TicketId;
use crate::core::units;
use crate::storage::local::files::Files;
use crate::storage::local::journal_files::JournalFiles;

/// What to examine.
#[derive(Debug, Clone, PartialEq, Eq, clap::Args)]
pub struct VerifyArgs {
    /// Uploads to check: ticket ids or their beginnings, as logs show them [default: the whole directory]
    #[arg(value_name = "ID")]
    pub ids: Vec<String>,
    /// Storage directory [default: storage_dir of the settings]
    #[arg(long, value_name = "PATH")]
    pub storage_dir: Option<PathBuf>,
    /// Configuration file (TOML) of the server [default: the file named by INCOMING_CONFIG, if any]
    #[arg(long, value_name = "PATH")]
    pub config: Option<PathBuf>,
    /// Also read every acknowledged byte, and recompute recorded digests
    #[arg(long)]
    pub deep: bool,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// Examines everything and prints what is wrong.
///
/// # Errors
/// Something is damaged (exit code 1); the directory cannot be read, or the command line is wrong
/// (exit code 2).
pub fn verify(args: &VerifyArgs) -> Result<(), CliError> {
    let (_, settings) = server_settings(args.config.clone())?;
    let dir = args.storage_dir.as_ref().unwrap_or(&settings.storage_dir);
    let shown = terminal::path(dir);
    let cannot = |error: std::io::Error| CliError::Usage(format!("{shown}: {error}"));
    if let Some(wrong) =
        args.ids.iter().find(|id| TicketId::parse(id).is_err() && !is_beginning(id))
    {
        return Err(CliError::Usage(IdError::Invalid(wrong.clone()).to_string()));
    }
    let stored = StoredUploads::open(dir, settings.ack.into()).map_err(cannot)?;
    let mut ids = Vec::new();
    for typed in &args.ids {
        ids.push(match TicketId::parse(typed) {
            Ok(id) => id,
            Err(_) => whole(&stored, typed).map_err(cannot)?.map_err(CliError::failed)?,
        });
    }
    let depth = if args.deep { Depth::Bytes } else { Depth::Names };
    let report = examine_all(&stored, dir, &ids, depth).map_err(cannot)?;
    print(&if args.json { report.json() } else { report.text() })?;
    match report.damaged() {
        0 => Ok(()),
        count => Err(CliError::Failed(format!("{shown}: {count} found damaged"))),
    }
}

/// The only id here that begins so, of whatever lies here.
fn whole(stored: &StoredUploads, typed: &str) -> std::io::Result<Result<TicketId, IdError>> {
    let mut ids: HashSet<TicketId> = stored.journals.list()?.into_iter().collect();
    ids.extend(stored.store.parts()?);
    ids.extend(stored.store.files()?);
    ids.retain(|id| id.to_string().starts_with(typed));
    Ok(only(typed, ids.into_iter().collect(), usize::MAX))
}

/// Examines all of it, and a second time what seemed wrong.
fn examine_all(
    stored: &StoredUploads,
    dir: &Path,
    ids: &[TicketId],
    depth: Depth,
) -> std::io::Result<Report> {
    // What belongs to a journal is listed before the journals: it is made after its journal.
    let (parts, files) = (stored.store.parts()?, stored.store.files()?);
    let leftovers = stored.journals.leftovers()?;
    let journals: HashSet<TicketId> = stored.journals.list()?.into_iter().collect();
    let mut report = Report::new(dir);
    let mut asked: Vec<TicketId> =
        if ids.is_empty() { journals.iter().copied().collect() } else { ids.to_vec() };
    asked.sort();
    report.uploads = asked.len();
    let mut suspect = Vec::new();
    // Drawn on standard error, and only on a terminal.
    let bar = ProgressBar::new(asked.len() as u64);
    if let Ok(style) = ProgressStyle::with_template("{wide_bar} {pos} of {len} uploads, {msg} read")
    {
        bar.set_style(style.progress_chars("=> "));
    }
    for id in asked {
        if !stored.upload(id, depth, &mut report.bytes).is_empty() {
            suspect.push(id);
        }
        bar.inc(1);
        bar.set_message(units::size(report.bytes));
    }
    bar.finish_and_clear();
    let lost = |id: &&TicketId| !journals.contains(*id) && (ids.is_empty() || ids.contains(*id));
    let mut orphans: Vec<_> = parts.iter().filter(lost).map(|id| (*id, Kind::PartAlone)).collect();
    orphans.extend(files.iter().filter(lost).map(|id| (*id, Kind::FileAlone)));
    let here = |id: &TicketId| [&parts, &files].iter().any(|ids| ids.contains(id));
    for id in ids.iter().filter(|id| !journals.contains(*id) && !here(id)) {
        report.findings.push(Finding::new(*id, Kind::Unknown, "nothing is stored under this id"));
    }
    if !suspect.is_empty() || !orphans.is_empty() || !leftovers.is_empty() {
        std::thread::sleep(RECHECK_AFTER);
    }
    for id in suspect {
        report.findings.extend(stored.settled(id, depth, &mut report.bytes));
    }
    for (id, kind) in orphans {
        report.findings.extend(stored.orphan(id, kind));
    }
    if ids.is_empty() {
        // Of a birth under way, or of one that a crash broke off.
        let still = leftovers.into_iter().filter(|path| path.exists());
        report.findings.extend(still.map(|path| Finding::leftover(&path)));
    }
    report.findings.sort_by_key(|finding| (finding.kind.rank(), finding.id));
    Ok(report)
}

/// Between the first and the second examination: longer than a server on a busy disk takes from one step to the next.
const RECHECK_AFTER: Duration = Duration::from_millis(500);
