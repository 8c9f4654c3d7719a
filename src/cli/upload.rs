//! `incoming upload`: the arguments.

use std::path::PathBuf;

use clap::ArgGroup;

use crate::config::{Secret, size_text};

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
    #[arg(long, value_name = "URL")]
    pub backend: Option<String>,
    /// Token of the backend listener
    #[arg(long, value_name = "TOKEN", requires = "backend")]
    pub token: Option<Secret>,
    /// Bytes per chunk, such as 8MiB [default: what the server suggests]
    #[arg(long, value_name = "SIZE", value_parser = chunk_size)]
    pub chunk_size: Option<u64>,
    /// Chunks in flight, 1 to 64 [default: what the server suggests]
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..=64))]
    pub parallel: Option<u32>,
    /// Take any TLS certificate
    #[arg(long)]
    pub insecure: bool,
}

fn chunk_size(text: &str) -> Result<u64, String> {
    size_text(text).and_then(|bytes| match bytes {
        0 => Err("must be at least 1 byte".into()),
        bytes => Ok(bytes),
    })
}

/// Uploads files.
pub fn upload(_args: UploadArgs) -> Result<(), super::CliError> {
    Ok(())
}
