//! What is to be measured: the command line, checked once.

use std::path::PathBuf;

use clap::ArgGroup;

use super::super::{CliError, credentials, positive_size};
use super::dialect::Dialect;
use crate::client::{Endpoint, InvalidEndpoint, Offer};
use crate::config::{Secret, parse_size};

/// What to measure.
#[derive(Debug, Clone, PartialEq, Eq, clap::Args)]
#[command(group(ArgGroup::new("protocol").args(["http1", "http2"])))]
#[allow(clippy::struct_excessive_bools, reason = "flags of a command line")]
pub struct BenchArgs {
    /// Origin of a running server's public listener [default: a server started for the measurement, on loopback]
    #[arg(long, value_name = "URL")]
    pub url: Option<String>,
    /// Backend listener of that server, for tickets [default: http://127.0.0.1:4001]
    #[arg(long, value_name = "URL", requires = "url")]
    pub backend: Option<String>,
    /// Token of that backend listener. Other local users can see flags: prefer --token-file
    #[arg(long, value_name = "TOKEN", requires = "url")]
    pub token: Option<Secret>,
    /// File with the token of that backend listener, or - for standard input
    #[arg(long, value_name = "PATH", requires = "url", conflicts_with = "token")]
    pub token_file: Option<PathBuf>,
    /// Process id of that server, if it runs on this machine, to measure its CPU time and memory
    #[arg(long, value_name = "PID", requires = "url")]
    pub server_pid: Option<u32>,
    /// Address at which that server can call this program for handovers [default: loopback]
    #[arg(long, value_name = "IP", requires = "url")]
    pub callback: Option<std::net::IpAddr>,
    /// Accept any TLS certificate of that server
    #[arg(long, requires = "url")]
    pub insecure: bool,
    /// Protocol to upload with: incoming, tus, resumable (IETF); for other servers also range (PUT with Content-Range) and
    /// files (a PUT for each chunk). With --url and without --backend, tus creates its files there
    #[arg(long = "as", value_name = "DIALECT", default_value = "incoming")]
    pub dialect: Dialect,
    /// Files uploaded at the same time
    #[arg(long, value_name = "COUNT", default_value_t = 8,
        value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub uploads: u32,
    /// Chunks in flight of each file
    #[arg(long, value_name = "COUNT", default_value_t = 1,
        value_parser = clap::value_parser!(u32).range(1..=64))]
    pub parallel: u32,
    /// Bytes per chunk; as large as the file sends each file in one request
    #[arg(long, value_name = "SIZE", default_value = "8MiB", value_parser = positive_size)]
    pub chunk: u64,
    /// Bytes of all files together. The last chunk of each file is timed separately, with the handover, so its bytes
    /// are not in the reported throughput: --total 64MiB --uploads 2 reports 48 MiB
    #[arg(long, value_name = "SIZE", default_value = "2GiB", value_parser = positive_size)]
    pub total: u64,
    /// Measure whole lives of this many files instead, --uploads at a time: ticket, one request with all bytes, handover, and
    /// the record that the backend has the file
    #[arg(long, value_name = "COUNT", conflicts_with_all = ["total", "chunk", "parallel", "start_at", "connections"],
        value_parser = clap::value_parser!(u32).range(1..=100_000_000))]
    pub files: Option<u32>,
    /// Bytes of each of --files
    #[arg(long, value_name = "SIZE", requires = "files", default_value = "64KiB", value_parser = positive_size)]
    pub size: u64,
    /// Start each file at this offset, to measure large files without sending all their bytes
    #[arg(long, value_name = "SIZE", default_value = "0", value_parser = parse_size)]
    pub start_at: u64,
    /// Use HTTP/1.1, one connection for each chunk in flight (the default)
    #[arg(long)]
    pub http1: bool,
    /// Use HTTP/2, all chunks over --connections connections; needs TLS
    #[arg(long)]
    pub http2: bool,
    /// Number of HTTP/2 connections
    #[arg(long, value_name = "COUNT", default_value_t = 1, requires = "http2",
        value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub connections: u32,
    /// Bytes passed to the network at a time [default: 256KiB, or 16KiB with HTTP/2, as browsers do]
    #[arg(long, value_name = "SIZE", value_parser = positive_size)]
    pub frame: Option<u64>,
    /// Use TLS with the started server (with --url, the URL decides)
    #[arg(long, conflicts_with = "url")]
    pub tls: bool,
    /// Acknowledgements of the started server: durable or written
    #[arg(long, value_name = "ACK", conflicts_with = "url", default_value = "durable",
        value_parser = ["durable", "written"])]
    pub ack: String,
    /// Folder for the started server's files; a folder in it is created and removed [default: the
    /// system's temporary folder]
    #[arg(long, value_name = "DIR", conflicts_with = "url")]
    pub dir: Option<PathBuf>,
    /// Threads of the client [default: one per CPU]
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub client_threads: Option<u32>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// Flags for the started server, after `--`
    #[arg(last = true, value_name = "SERVER_FLAGS", conflicts_with = "url")]
    pub server: Vec<String>,
}

/// The server that is measured.
#[derive(Clone, Debug)]
pub(super) enum ServerUnderTest {
    /// Started here.
    Own { tls: bool, ack: String, dir: PathBuf, flags: Vec<String> },
    /// Running already.
    Other {
        public: Endpoint,
        /// What stands behind the origin; `/` for an Incoming!!.
        path: String,
        backend: Endpoint,
        token: Option<Secret>,
        process: Option<u32>,
        insecure: bool,
    },
}

/// What is measured, all of it possible as far as can be told.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) server: ServerUnderTest,
    pub(super) dialect: Dialect,
    /// Whether files are tickets of an Incoming!!, with handovers.
    pub(super) tickets: bool,
    pub(super) callback: std::net::IpAddr,
    pub(super) protocol: Offer,
    pub(super) connections: u32,
    pub(super) uploads: u32,
    pub(super) parallel: u32,
    pub(super) chunk: u64,
    /// Bytes sent of each file.
    pub(super) file: u64,
    /// How many files are sent, of which whole lives are measured.
    pub(super) lives: Option<u32>,
    pub(super) start_at: u64,
    pub(super) frame: usize,
    pub(super) client_threads: usize,
}

/// A flag whose value is wrong.
fn wrong(key: &str, value: &str, why: &str) -> CliError {
    CliError::Usage(format!("--{key} = {value:?}: {why}"))
}

impl ServerUnderTest {
    fn of(args: &BenchArgs) -> Result<Self, CliError> {
        let invalid =
            |key: &str, value: &str, why: InvalidEndpoint| wrong(key, value, &why.to_string());
        let Some(url) = &args.url else {
            return Ok(Self::Own {
                tls: args.tls,
                ack: args.ack.clone(),
                dir: args.dir.clone().unwrap_or_else(std::env::temp_dir),
                flags: args.server.clone(),
            });
        };
        let (public, path) = Endpoint::of_url(url).map_err(|why| invalid("url", url, why))?;
        let text = args.backend.as_deref().unwrap_or("http://127.0.0.1:4001");
        let backend = Endpoint::of_listener(text).map_err(|why| invalid("backend", text, why))?;
        let file = args.token_file.as_deref();
        let token = credentials::secret(args.token.as_ref(), "token-file", file)?;
        let (process, insecure) = (args.server_pid, args.insecure);
        Ok(Self::Other { public, path, backend, token, process, insecure })
    }
}

impl Plan {
    /// As the command line says.
    pub(super) fn of(args: &BenchArgs) -> Result<Self, CliError> {
        let protocol = if args.http2 { Offer::Http2 } else { Offer::Http1 };
        let server = ServerUnderTest::of(args)?;
        let tls = match &server {
            ServerUnderTest::Own { tls, .. } => *tls,
            ServerUnderTest::Other { public, .. } => public.tls,
        };
        if protocol == Offer::Http2 && !tls {
            return Err(CliError::Usage("--http2 needs --tls (or an https --url)".into()));
        }
        let tickets = match args.dialect {
            Dialect::Incoming | Dialect::Resumable => true,
            Dialect::Tus => args.url.is_none() || args.backend.is_some(),
            Dialect::Range | Dialect::Files if args.url.is_none() => {
                return Err(CliError::Usage("--as range and --as files need --url".into()));
            }
            Dialect::Range | Dialect::Files => false,
        };
        if args.dialect.appends() && (args.parallel > 1 || args.start_at > 0) {
            let why = "sends chunks in order: it takes neither --parallel nor --start-at";
            return Err(CliError::Usage(format!("--as {}: {why}", args.dialect.word())));
        }
        if args.files.is_some() && !tickets {
            return Err(CliError::Usage(
                "--files needs the tickets of an Incoming!! server".into(),
            ));
        }
        let file = match args.files {
            Some(_) => args.size,
            None => args.total / u64::from(args.uploads),
        };
        if file < 2 && args.files.is_none() {
            let why = "must be at least two bytes for each upload";
            return Err(wrong("total", &args.total.to_string(), why));
        }
        let usual = match protocol {
            Offer::Http2 => 16 << 10,
            Offer::Http1 | Offer::Both => 256 << 10,
        };
        let frame = usize::try_from(args.frame.unwrap_or(usual)).unwrap_or(usize::MAX);
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Ok(Self {
            server,
            dialect: args.dialect,
            tickets,
            callback: args.callback.unwrap_or_else(|| std::net::Ipv4Addr::LOCALHOST.into()),
            protocol,
            connections: args.connections,
            uploads: args.uploads,
            parallel: args.parallel,
            // The end of the file is for the end: a chunk leaves at least its last byte.
            chunk: args.chunk.min(file.max(2) - 1),
            file,
            lives: args.files,
            start_at: args.start_at,
            frame: frame.min(super::dialect::FRAME_MOST),
            client_threads: args.client_threads.map_or(cores, |count| count as usize),
        })
    }

    /// Whole chunks of each file that are measured; the rest is its last chunk.
    pub(super) fn chunks(&self) -> u64 {
        (self.file - 1) / self.chunk
    }

    /// Bytes of all files that are measured.
    pub(super) fn measured_bytes(&self) -> u64 {
        self.chunks() * self.chunk * u64::from(self.uploads)
    }

    /// Length of each file as it is declared.
    pub(super) fn length(&self) -> u64 {
        self.start_at + self.file
    }

    /// Whether the files are whole in the end: not where their beginning is left out.
    pub(super) fn completes(&self) -> bool {
        self.start_at == 0
    }

    /// Whether the bytes are encrypted on their way.
    pub(super) fn tls(&self) -> bool {
        match &self.server {
            ServerUnderTest::Own { tls, .. } => *tls,
            ServerUnderTest::Other { public, .. } => public.tls,
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: BenchArgs,
    }

    fn plan(line: &str) -> Result<Plan, String> {
        let words = std::iter::once("bench").chain(line.split_whitespace());
        let args = Line::try_parse_from(words).map_err(|error| error.to_string())?.args;
        Plan::of(&args).map_err(|error| error.to_string())
    }

    #[test]
    fn splits_files() {
        let check = |line: &str, chunks: u64, chunk: u64, measured: u64| {
            let plan = plan(line).unwrap();
            let found = (plan.chunks(), plan.chunk, plan.measured_bytes());
            assert_eq!(found, (chunks, chunk, measured), "{line}");
        };
        check("", 31, 8 << 20, 31 * (8 << 20) * 8);
        check("--uploads 1 --total 1000 --chunk 300", 3, 300, 900);
        check("--uploads 1 --total 900 --chunk 300", 2, 300, 600);
        check("--uploads 2 --total 1GiB --chunk 1GiB", 1, (512 << 20) - 1, (1 << 30) - 2);
        check("--uploads 1 --total 2 --chunk 9", 1, 1, 1);
    }

    #[test]
    fn says_what_would_be_right() {
        let check = |line: &str, word: &str| {
            let error = plan(line).unwrap_err();
            assert!(error.contains(word), "{line}: {error}");
        };
        check("--http2", "--tls");
        check("--http2 --url http://a", "--tls");
        check("--http1 --http2 --tls", "--http2");
        check("--uploads 8 --total 15", "two bytes");
        check("--chunk 0", "at least 1 byte");
        check("--url x", "--url");
        check("--url http://a --tls", "--url");
        check("--as ftp --url http://a", "ftp");
        check("--as range", "--url");
        check("--as tus --parallel 2", "in order");
        check("--files 10 --total 1MiB", "--total");
        check("--files 10 --as range --url http://a", "tickets");
        check("--size 1MiB", "--files");
        check("--as resumable --start-at 1", "in order");
    }

    #[test]
    fn files_are_tickets_of_this_server() {
        let check = |line: &str, tickets: bool| {
            assert_eq!(plan(line).unwrap().tickets, tickets, "{line}");
        };
        check("", true);
        check("--as tus", true);
        check("--as resumable --url http://a", true);
        check("--as tus --url http://a --backend http://b", true);
        check("--as tus --url http://a/files", false);
        check("--as range --url http://a", false);
    }
}
