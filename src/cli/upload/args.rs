//! What was typed for `incoming upload`.

use std::path::PathBuf;
use std::time::Duration;

use clap::ArgGroup;

use crate::cli::Credentials;
use crate::cli::positive_size;
use crate::config::{Secret, duration_text};

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
    #[arg(long, value_name = "DURATION", value_parser = duration_text)]
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
