//! `incoming doctor`: what the path to a server does to uploads, and which line fixes it.
//!
//! Exit codes: 0 nothing is wrong, 1 something is, 2 there is no doctor to be reached, or the command line is wrong. Only
//! probes are sent; no ticket is needed, and nothing is stored.

mod body;
mod interim;
mod probe_client;
mod probes;
mod sizes;

use std::io::Write;
use std::time::Duration;

use serde::Serialize;

use super::{ArgumentError, CliError, Credentials, positive_size, runtime, terminal};
use crate::client::{Endpoint, InvalidEndpoint, Offer};
use crate::config::parse_duration;
use crate::core::units::size;
use crate::diagnosis::observed::{InterimTried, Observed};
use crate::diagnosis::{Finding, Findings};
use crate::wire::doctor::MOST_BYTES;
use probe_client::ProbeClient;
use probes::Examination;

/// What to examine, and how thoroughly.
#[derive(Debug, Clone, PartialEq, Eq, clap::Args)]
pub struct DoctorArgs {
    /// Where browsers reach the server: https://host:port, with any path prefix that a proxy adds before /incoming/;
    /// any URL below /incoming/ works too
    #[arg(value_name = "URL")]
    pub url: String,
    /// Length of the pauses that are tested, at most 50s; 0 skips them. A long poll of the browser library lasts 25 s,
    /// and the server itself waits 30 s for a body
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = idle)]
    pub idle: Duration,
    /// Largest body that is actually sent; smaller on a slow connection. Larger ones are only announced
    #[arg(long, value_name = "SIZE", default_value = "129MiB", value_parser = largest)]
    pub largest: u64,
    /// Origin of the pages that upload, for CORS [default: that of URL]
    #[arg(long, value_name = "ORIGIN")]
    pub origin: Option<String>,
    /// Use HTTP/1.1, even where a browser would use HTTP/2
    #[arg(long)]
    pub http1: bool,
    /// Print findings and observations as JSON
    #[arg(long)]
    pub json: bool,
    /// Certificates.
    #[command(flatten)]
    pub tls: Credentials,
}

/// What `--json` prints.
#[derive(Serialize)]
struct Report<'a> {
    findings: &'a [Finding],
    observed: &'a Observed,
}

/// Examines a path and prints what is wrong with it.
///
/// # Errors
/// There is something wrong with it (exit code 1), or it could not be examined (2).
pub fn doctor(args: &DoctorArgs) -> Result<(), CliError> {
    let wrong = |why: String| CliError::Usage(format!("URL {:?} {why}", args.url));
    let (endpoint, path) =
        Endpoint::of_url(&args.url).map_err(|why: InvalidEndpoint| wrong(why.to_string()))?;
    let offer = if args.http1 { Offer::Http1 } else { Offer::Both };
    let client = ProbeClient::new(endpoint, &args.tls, offer).map_err(CliError::usage)?;
    let origin = args.origin.clone().unwrap_or_else(|| client.origin());
    if hyper::header::HeaderValue::from_str(&origin).is_err() {
        return Err(CliError::Usage(format!("--origin {origin:?} is not an origin")));
    }
    let tell = if args.json || !terminal::is_watched() { quiet } else { aloud };
    let (idle, largest) = (args.idle, args.largest);
    let examination =
        Examination { client, base: base(&path).to_owned(), origin, idle, largest, tell };
    let runtime = runtime()?;
    let seen = runtime.block_on(examination.observe());
    let seen = seen.map_err(|why| CliError::Usage(format!("cannot examine the path: {why}")))?;
    let Findings { findings } = Findings::of(&seen);
    let said = if args.json {
        let report = Report { findings: &findings, observed: &seen };
        terminal::json_lines(&report).map(|text| text + "\n")
    } else {
        Ok(text(&findings, &seen))
    };
    let said = said.map_err(CliError::failed)?;
    // Standard output may be gone.
    let _ = terminal::stdout().write_all(said.as_bytes());
    match findings.len() {
        0 => Ok(()),
        1 => Err(CliError::Failed("1 finding".into())),
        count => Err(CliError::Failed(format!("{count} findings"))),
    }
}

fn quiet(_: &str) {}

fn aloud(what: &str) {
    let _ = writeln!(terminal::stderr(), "trying {what}");
}

/// What stands before `/incoming/` in a path.
fn base(path: &str) -> &str {
    let path = path.split('?').next().unwrap_or_default();
    let end = path.find("/incoming/").unwrap_or(path.len());
    path[..end].trim_end_matches('/').trim_end_matches("/incoming")
}

/// For people.
fn text(findings: &[Finding], seen: &Observed) -> String {
    let mut out = String::new();
    let front = if seen.http2 == Some(true) { "HTTP/2" } else { "HTTP/1.1" };
    let way = match (seen.proxied, seen.proxy) {
        (Some(true), Some(proxy)) => format!("through {}", proxy.word()),
        (Some(true), None) => "through a proxy that does not give its name".to_owned(),
        (Some(false) | None, _) => "directly".to_owned(),
    };
    out += &format!("{front}, {way}");
    if let Some(arrived) = &seen.arrived {
        out += &format!(
            "; the server sees {} and takes the client for {}",
            terminal::short(&arrived.version),
            terminal::short(&arrived.client)
        );
    }
    if let Some(cap) = seen.cap.filter(|cap| cap.taken > 0 && cap.refused.is_none()) {
        out += &format!("; bodies of {} pass", size(cap.taken));
    }
    if let Some(interim) = seen.interim.and_then(InterimTried::word) {
        out += &format!("; {interim}");
    }
    out += "\n";
    if findings.is_empty() {
        return out + "Nothing is wrong.\n";
    }
    for (number, finding) in findings.iter().enumerate() {
        out += &format!(
            "\n{}. {}  [{}]\n",
            number + 1,
            sentence(&terminal::text(&finding.what)),
            finding.code
        );
        for cure in &finding.cures {
            out +=
                &format!("   {:<10}{}\n", format!("{}:", cure.program), terminal::text(&cure.line));
        }
    }
    out += "\nWhat each finding means: docs/operations/doctor.md\n";
    out
}

fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters.next().map(|first| first.to_uppercase().to_string()).unwrap_or_default();
    format!("{first}{}.", letters.as_str())
}

fn idle(text: &str) -> Result<Duration, ArgumentError> {
    let idle = parse_duration(text)?;
    if idle > Duration::from_secs(50) { Err("must be at most 50s".into()) } else { Ok(idle) }
}

fn largest(text: &str) -> Result<u64, ArgumentError> {
    let bytes = positive_size(text)?;
    if bytes > MOST_BYTES {
        Err(format!("must be at most {}", size(MOST_BYTES)).into())
    } else {
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bases() {
        let check = |path: &str, expected: &str| assert_eq!(base(path), expected, "{path}");
        check("/", "");
        check("/files/", "/files");
        check("/files/incoming", "/files");
        check("/files/incoming/", "/files");
        check("/incoming/frontend/uploads/1?x=/incoming/", "");
        check("/a/b/incoming/0.1/frontend/doctor", "/a/b");
    }

    #[test]
    fn people_are_told_in_sentences_and_lines() {
        let seen: Observed = serde_json::from_str(
            r#"{"proxied": true, "http2": true, "paced": {"paused_ms": 1000, "last_ms": 1}, "proxy": "nginx"}"#,
        )
        .unwrap();
        let said = text(&Findings::of(&seen).findings, &seen);
        assert!(said.starts_with("HTTP/2, through nginx\n\n1. Requests are buffered"), "{said}");
        assert!(
            said.contains("is lost.  [request-buffered]\n   nginx:    proxy_request"),
            "{said}"
        );
        assert!(text(&[], &Observed::default()).ends_with("Nothing is wrong.\n"));
    }

    #[test]
    fn bounds() {
        assert_eq!(idle("0").unwrap(), Duration::ZERO);
        assert_eq!(idle("8s").unwrap(), Duration::from_secs(8));
        assert!(idle("51s").is_err());
        // Seconds, minutes? It is said how to write them, as for every setting.
        assert!(
            idle("8").is_err_and(|why| why.to_string().contains("with units, such as 500ms, 30s"))
        );
        assert!(largest("161MiB").is_err());
        assert_eq!(largest("160MiB").unwrap(), 160 << 20);
    }
}
