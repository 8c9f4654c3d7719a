//! What was typed for `incoming upload`.

use std::path::PathBuf;
use std::time::Duration;

use clap::ArgGroup;

use crate::cli::positive_size;
use crate::cli::trust::Credentials;
use crate::config::{Secret, duration_text};

/// What to upload, and where to.
#[derive(Debug, Clone, PartialEq, Eq, clap::Args)]
#[command(group(ArgGroup::new("target").required(true).args(["url", "backend"])))]
#[allow(clippy::struct_excessive_bools)]
pub struct UploadArgs {
    /// Files to upload; of a folder all files below it, each with its own ticket
    #[arg(value_name = "FILE", required = true)]
    pub files: Vec<PathBuf>,
    /// Upload URL of a ticket, as the web app hands it out; takes one FILE. It is a secret, and other users of the
    /// machine can see flags: `-` reads it from standard input
    #[arg(long, value_name = "UPLOAD_URL")]
    pub url: Option<String>,
    /// Backend listener (http(s)://host:port or unix:/path) to get a ticket from for each FILE
    #[arg(long, value_name = "URL", requires = "signal_finish_url")]
    pub backend: Option<String>,
    /// URL that the server calls when it has the whole file (signalFinishURL)
    #[arg(long, value_name = "URL", requires = "backend")]
    pub signal_finish_url: Option<String>,
    /// backendSecret of the tickets, echoed in that call; another one takes new tickets. Other users of the machine can
    /// see flags: prefer --secret-file
    #[arg(long, requires = "backend")]
    pub secret: Option<Secret>,
    /// File that holds the backendSecret, or - for standard input
    #[arg(long, value_name = "PATH", requires = "backend", conflicts_with = "secret")]
    pub secret_file: Option<PathBuf>,
    /// Public listener, which takes the bytes [default: a guess, host of --backend and port of the setting `listen`]
    #[arg(long, value_name = "URL", requires = "backend")]
    pub public: Option<String>,
    /// Token of the backend listener. Other users of the machine can see flags: prefer --token-file or
    /// INCOMING_BACKEND_TOKEN [default: backend_token of the settings]
    #[arg(long, value_name = "TOKEN", requires = "backend")]
    pub token: Option<Secret>,
    /// File that holds the token of the backend listener, or - for standard input
    #[arg(long, value_name = "PATH", requires = "backend", conflicts_with = "token")]
    pub token_file: Option<PathBuf>,
    /// Bytes per chunk, such as 8MiB [default: what the server suggests]
    #[arg(long, value_name = "SIZE", value_parser = positive_size)]
    pub chunk_size: Option<u64>,
    /// Chunks in flight, 1 to 64 [default: what the server suggests]
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..=64))]
    pub parallel: Option<u32>,
    /// Speak HTTP/2: over TLS by ALPN, on a plain socket with prior knowledge
    #[arg(long)]
    pub http2: bool,
    /// Give a file up after so long without progress, such as 1h; does not count the wait for the web app once all is
    /// on the server [default: never]
    #[arg(long, value_name = "DURATION", value_parser = duration_text)]
    pub retry_for: Option<Duration>,
    /// Where a file has changed since its upload began, cancel that and begin anew
    #[arg(long, requires = "backend")]
    pub restart_changed: bool,
    /// Cancel the unfinished uploads of these files instead
    #[arg(long, conflicts_with_all = ["restart_changed", "chunk_size", "parallel"])]
    pub cancel: bool,
    /// Print one JSON object a line: what happens, and a summary at the end
    #[arg(long)]
    pub json: bool,
    /// Certificates.
    #[command(flatten)]
    pub tls: Credentials,
}
