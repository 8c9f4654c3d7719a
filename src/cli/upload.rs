//! `incoming upload`: files from a terminal, chunk by chunk, until the backend has them.
//!
//! What a retry can cure is retried for ever; what it cannot ends the file with one line. Nothing is
//! kept here: an upload that was broken off goes on from what the server has when it is started again
//! with the same upload URL.

mod chunk;
mod client;
mod progress;
mod retry;
mod status;
mod ticket;
mod transfer;

use std::io::{self, Write};
use std::path::PathBuf;

use clap::ArgGroup;

use super::{CliError, positive_size};
use crate::config::Secret;

/// What to upload, and where to.
#[derive(Debug, Clone, PartialEq, Eq, clap::Args)]
#[command(group(ArgGroup::new("target").required(true).args(["url", "backend"])))]
pub struct UploadArgs {
    /// Files to upload
    #[arg(value_name = "FILE", required = true)]
    pub files: Vec<PathBuf>,
    /// Upload URL of a ticket, as the web app hands it out; takes one FILE
    #[arg(long, value_name = "UPLOAD_URL")]
    pub url: Option<String>,
    /// Backend listener (http://host:port or unix:/path) to get a ticket from for each FILE
    #[arg(long, value_name = "URL", requires = "signal_finish_url")]
    pub backend: Option<String>,
    /// URL that the server calls when it has the whole file (signalFinishURL)
    #[arg(long, value_name = "URL", requires = "backend")]
    pub signal_finish_url: Option<String>,
    /// backendSecret of the tickets, echoed in that call
    #[arg(long, requires = "backend")]
    pub secret: Option<Secret>,
    /// Public listener [default: host of --backend, port of the setting `listen`]
    #[arg(long, value_name = "URL", requires = "backend")]
    pub public: Option<String>,
    /// Token of the backend listener
    #[arg(long, value_name = "TOKEN", requires = "backend")]
    pub token: Option<Secret>,
    /// Bytes per chunk, such as 8MiB [default: what the server suggests]
    #[arg(long, value_name = "SIZE", value_parser = positive_size)]
    pub chunk_size: Option<u64>,
    /// Chunks in flight, 1 to 64 [default: what the server suggests]
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..=64))]
    pub parallel: Option<u32>,
    /// Take any TLS certificate
    #[arg(long)]
    pub insecure: bool,
}

/// Uploads the files one after the other, each with several chunks in flight.
///
/// # Errors
/// The command line asks for what cannot be, or a file was not uploaded; the others were tried.
pub fn upload(args: UploadArgs) -> Result<(), CliError> {
    if args.url.is_some() && args.files.len() > 1 {
        let count = args.files.len();
        return Err(CliError::Usage(format!(
            "--url takes one FILE, not {count}: a ticket is for one file"
        )));
    }
    let source = ticket::Source::of(&args)?;
    let UploadArgs { files, chunk_size, parallel, .. } = args;
    let pace = transfer::Pace { chunk_size, parallel };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| CliError::Failed(format!("cannot start: {error}")))?;
    let done = runtime.block_on(async {
        let mut failed = Vec::new();
        for path in &files {
            match transfer::file(path, &source, pace).await {
                // Nobody is left to be told when standard output is gone.
                Ok(line) => _ = writeln!(io::stdout(), "{line}"),
                Err(line) => failed.push(line),
            }
        }
        failed
    });
    // A file read that is still under way serves nobody now.
    runtime.shutdown_background();
    match &done[..] {
        [] => Ok(()),
        lines => Err(CliError::Failed(lines.join("\nincoming: "))),
    }
}
