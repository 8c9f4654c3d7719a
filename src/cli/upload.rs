//! `incoming upload`: files from a terminal, chunk by chunk, until the backend has them.
//!
//! What a retry can cure is retried for ever; what it cannot ends the file with one line. An upload
//! that was broken off is remembered (`client/resume_state.rs`): the same command goes on from what the server has,
//! and only with the same file.

mod jobs;
mod reporter;
mod run;
mod ticket;

use std::cell::{Cell, RefCell};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::ArgGroup;
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};

use self::jobs::{Jobs, jobs};
use self::reporter::Form;
use self::run::{Outcome, Run};
use super::{CliError, Credentials, positive_size, runtime};
use crate::app::exit_at_second;
use crate::client::TransferOptions;
use crate::config::{Secret, parse_duration};
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
    let runtime = runtime()?;
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

/// What to upload, and where to.
#[derive(Debug, Clone, PartialEq, Eq, clap::Args)]
#[command(group(ArgGroup::new("target").required(true).args(["url", "backend"])))]
#[allow(clippy::struct_excessive_bools)]
pub struct UploadArgs {
    /// Files to upload; a folder stands for all files below it, each with its own ticket
    #[arg(value_name = "FILE", required = true)]
    pub files: Vec<PathBuf>,
    /// Upload URL of a ticket, as the web app hands it out; for one FILE. It is a secret, and other local users can
    /// see flags: `-` reads it from standard input
    #[arg(long, value_name = "UPLOAD_URL")]
    pub url: Option<String>,
    /// Backend listener (http(s)://host:port or unix:/path) to get a ticket from for each FILE
    #[arg(long, value_name = "URL", requires = "signal_finish_url")]
    pub backend: Option<String>,
    /// URL that the server calls when it has the whole file (signalFinishURL)
    #[arg(long, value_name = "URL", requires = "backend")]
    pub signal_finish_url: Option<String>,
    /// backendSecret of the tickets, repeated in that call; a different one starts new uploads. Other local users can
    /// see flags: prefer --secret-file
    #[arg(long, requires = "backend")]
    pub secret: Option<Secret>,
    /// File with the backendSecret, or - for standard input
    #[arg(long, value_name = "PATH", requires = "backend", conflicts_with = "secret")]
    pub secret_file: Option<PathBuf>,
    /// Public listener, which receives the bytes [default: host of --backend and port of the setting `listen`]
    #[arg(long, value_name = "URL", requires = "backend")]
    pub public: Option<String>,
    /// Token of the backend listener. Other local users can see flags: prefer --token-file or
    /// INCOMING_BACKEND_TOKEN [default: backend_token of the settings]
    #[arg(long, value_name = "TOKEN", requires = "backend")]
    pub token: Option<Secret>,
    /// File with the token of the backend listener, or - for standard input
    #[arg(long, value_name = "PATH", requires = "backend", conflicts_with = "token")]
    pub token_file: Option<PathBuf>,
    /// Bytes per chunk, such as 8MiB [default: as the server suggests]
    #[arg(long, value_name = "SIZE", value_parser = positive_size)]
    pub chunk_size: Option<u64>,
    /// Chunks in flight, 1 to 64 [default: as the server suggests]
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..=64))]
    pub parallel: Option<u32>,
    /// Use HTTP/2: over TLS by ALPN, over plain HTTP with prior knowledge
    #[arg(long)]
    pub http2: bool,
    /// Give up a file after this long without progress, such as 1h; waiting for the web app once all bytes are on the
    /// server does not count [default: never]
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    pub retry_for: Option<Duration>,
    /// If a file has changed since its upload began, cancel that upload and start over
    #[arg(long, requires = "backend")]
    pub restart_changed: bool,
    /// Cancel the unfinished uploads of these files instead of uploading
    #[arg(long, conflicts_with_all = ["restart_changed", "chunk_size", "parallel"])]
    pub cancel: bool,
    /// Print one JSON object a line for each event, and a summary at the end
    #[arg(long)]
    pub json: bool,
    /// Certificates.
    #[command(flatten)]
    pub tls: Credentials,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_file_that_failed_has_a_line_of_its_own() {
        assert!(conclusion(&[]).is_ok());
        let told = |failed: &[&str]| {
            let failed: Vec<_> = failed.iter().map(|line| (*line).to_owned()).collect();
            conclusion(&failed).unwrap_err().shown()
        };
        assert_eq!(told(&["a: gone"]), "incoming: a: gone\n");
        assert_eq!(told(&["a: gone", "b: no"]), "incoming: a: gone\nincoming: b: no\n");
    }
}
