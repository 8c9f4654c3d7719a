//! `incoming upload`: files from a terminal, chunk by chunk, until the backend has them.
//!
//! What a retry can cure is retried for ever; what it cannot ends the file with one line. An upload
//! that was broken off is remembered (`client/resume_state.rs`): the same command goes on from what the server has,
//! and only with the same file.

mod args;
mod jobs;
mod rate;
mod reporter;
mod run;
mod ticket;

use std::cell::{Cell, RefCell};
use std::time::Instant;

use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};

pub use self::args::UploadArgs;
use self::jobs::{Jobs, jobs};
use self::reporter::Form;
use self::run::{Outcome, Run};
use super::CliError;
use crate::app::exit_at_second;
use crate::client::TransferOptions;
use crate::core::units;

/// Uploads the files one after the other, each with several chunks in flight.
///
/// # Errors
/// The command line asks for what cannot be; a file was not uploaded, and the others were tried; a
/// signal stopped it.
pub fn upload(args: &UploadArgs) -> Result<(), CliError> {
    if args.files.iter().any(|file| file.as_os_str() == "-") {
        return Err(CliError::Usage(
            "-: standard input cannot be uploaded, since its size must be known: write it to a \
             file and upload that (./- is a file of that name)"
                .into(),
        ));
    }
    let jobs = jobs(&args.files);
    if args.url.is_some()
        && (args.files.len() > 1 || jobs.files.iter().any(|job| job.below.is_some()))
    {
        return Err(CliError::Usage(
            "--url takes one FILE, since a ticket is for one file; --backend gets a ticket for \
             each"
                .into(),
        ));
    }
    let source = ticket::Source::of(args)?;
    let UploadArgs { chunk_size, parallel, retry_for, .. } = *args;
    let run = Run {
        source,
        options: TransferOptions { chunk_size, parallel, retry_for },
        restart_changed: args.restart_changed,
        form: if args.json { Form::Json } else { Form::Lines },
        sent: Cell::new(0),
        now: RefCell::new(None),
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| CliError::Failed(format!("cannot start: {error}")))?;
    let done = runtime.block_on(async {
        let stop = stopped()?;
        tokio::select! {
            biased;
            signal = stop => Err(CliError::Stopped { line: last_words(&run), signal }),
            failed = all(&run, jobs, args.cancel) => Ok(failed),
        }
    });
    // A file read that is still under way serves nobody now.
    runtime.shutdown_background();
    conclusion(&done?)
}

/// The end of it, by the files that failed, a line for each.
fn conclusion(failed: &[String]) -> Result<(), CliError> {
    if failed.is_empty() { Ok(()) } else { Err(CliError::Failed(failed.join("\n"))) }
}

/// What failed, a line for each.
async fn all(run: &Run, jobs: Jobs, cancel: bool) -> Vec<String> {
    let begun = Instant::now();
    let count = jobs.files.len();
    let mut failed = jobs.failed;
    jobs.skipped.iter().for_each(|line| run.form.note(line));
    let mut finished = 0;
    for (number, job) in jobs.files.iter().enumerate() {
        let outcome =
            if cancel { run.cancel(job).await } else { run.file(job, (number + 1, count)).await };
        match outcome {
            Outcome::Finished => finished += 1,
            Outcome::Failed(line) => failed.push(line),
        }
    }
    let (bytes, seconds) = (run.sent.get(), begun.elapsed().as_secs_f64());
    run.form.event(&json!({
        "event": "summary",
        "files": count,
        "finished": finished,
        "failed": failed.len(),
        "skipped": jobs.skipped.len(),
        "sent": bytes,
        "seconds": seconds,
    }));
    if count > 1 && !cancel {
        let sent = units::size(bytes);
        run.form
            .line(&format!("{finished} of {count} files finished, {sent} sent in {seconds:.1} s"));
    }
    failed
}

/// Waits for a signal that asks to stop: its number. A second one ends the process at once.
fn stopped() -> Result<impl Future<Output = i32>, CliError> {
    let failed = |error: std::io::Error| CliError::Failed(error.to_string());
    let listen = |kind| signal(kind).map_err(failed);
    let all = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()];
    let codes = all.map(|kind| (kind.as_raw_value(), 128 + kind.as_raw_value()));
    exit_at_second(&codes).map_err(failed)?;
    let (mut interrupt, mut terminate, mut hangup) = (
        listen(SignalKind::interrupt())?,
        listen(SignalKind::terminate())?,
        listen(SignalKind::hangup())?,
    );
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => SignalKind::interrupt(),
            _ = terminate.recv() => SignalKind::terminate(),
            _ = hangup.recv() => SignalKind::hangup(),
        }
        .as_raw_value()
    })
}

/// How to go on.
fn last_words(run: &Run) -> String {
    let now = run.now.borrow().clone();
    let Some(now) = now else { return "stopped".into() };
    run.form.event(&json!({
        "event": "stopped",
        "file": now.name,
        "url": now.url,
        "remembered": now.kept,
    }));
    let how = if now.kept {
        "run the same command to resume".to_owned()
    } else {
        format!("resume with --url {}", now.url)
    };
    format!("{}: stopped at {} %; {how}", now.name, now.percent)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_file_that_failed_has_a_line_of_its_own() {
        assert!(conclusion(&[]).is_ok());
        let told = |failed: &[&str]| {
            let failed: Vec<_> = failed.iter().map(|line| (*line).to_owned()).collect();
            conclusion(&failed).unwrap_err().told()
        };
        assert_eq!(told(&["a: gone"]), "incoming: a: gone\n");
        assert_eq!(told(&["a: gone", "b: no"]), "incoming: a: gone\nincoming: b: no\n");
    }
}
