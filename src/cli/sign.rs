//! `incoming sign` and `incoming verify-handover`: the signature of a call to a backend, made and checked by hand.

use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use super::{CliError, credentials, print, terminal};
use crate::core::signing::SigningSecrets;

/// What a body has at most: those of the server are smaller by far.
const MOST_BYTES: u64 = 1 << 20;

/// Receivers refuse calls that are older, as the libraries of Standard Webhooks do.
const TOLERANCE_S: u64 = 300;

/// What is signed, beside the body on standard input.
#[derive(Debug, Clone, PartialEq, Eq, clap::Args)]
pub struct SignArgs {
    /// File with the signing secret (whsec_ and base64), or two with a space between
    #[arg(long, value_name = "PATH")]
    pub secret_file: PathBuf,
    /// Ticket id
    #[arg(long)]
    pub id: String,
    /// Seconds since 1970 [default: now]
    #[arg(long, value_name = "SECONDS")]
    pub timestamp: Option<u64>,
}

/// What came with the body that is on standard input.
#[derive(Debug, Clone, PartialEq, Eq, clap::Args)]
pub struct VerifyHandoverArgs {
    /// File with the signing secret (whsec_ and base64), or two with a space between
    #[arg(long, value_name = "PATH")]
    pub secret_file: PathBuf,
    /// Header webhook-id
    #[arg(long)]
    pub id: String,
    /// Header webhook-timestamp
    #[arg(long, value_name = "SECONDS")]
    pub timestamp: u64,
    /// Header webhook-signature
    #[arg(long)]
    pub signature: String,
}

/// Prints the headers that sign the body on standard input. Blocks there.
///
/// # Errors
/// The file holds no secret; standard input cannot be read; the id cannot be in a header.
pub fn sign(args: &SignArgs) -> Result<(), CliError> {
    let secrets = secrets(&args.secret_file)?;
    if args.id.is_empty() || !args.id.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(CliError::Usage("--id must be visible ASCII characters, no spaces".into()));
    }
    let seconds = args.timestamp.unwrap_or_else(now);
    let signature = secrets.sign(&args.id, seconds, &body()?);
    print(&format!(
        "webhook-id: {}\nwebhook-timestamp: {seconds}\nwebhook-signature: {signature}\n",
        args.id
    ))
}

/// Says whether the body on standard input was signed with the secret, within the last five minutes. Blocks there.
///
/// # Errors
/// It was not; the file holds no secret; standard input cannot be read.
pub fn verify_handover(args: &VerifyHandoverArgs) -> Result<(), CliError> {
    let secrets = secrets(&args.secret_file)?;
    if !secrets.verify(&args.id, args.timestamp, &body()?, &args.signature) {
        return Err(CliError::Failed(
            "the signature is wrong: another secret, id or time, or a body that is not as it came"
                .into(),
        ));
    }
    let off = now().abs_diff(args.timestamp);
    if off > TOLERANCE_S {
        return Err(CliError::Failed(format!(
            "the signature is right, but its time is {off} s from now: receivers refuse more than {TOLERANCE_S} s"
        )));
    }
    print("the signature is right\n")
}

fn secrets(path: &Path) -> Result<SigningSecrets, CliError> {
    let wrong =
        |why: &str| CliError::Usage(format!("--secret-file {}: {why}", terminal::path(path)));
    if path.as_os_str() == "-" {
        return Err(wrong("standard input is the body"));
    }
    let secret = credentials::secret(None, "secret-file", Some(path))?;
    let text = secret.as_ref().map_or("", |secret| secret.expose());
    let secrets = SigningSecrets::parse(text).map_err(|error| wrong(&error.to_string()))?;
    if secrets.is_empty() { Err(wrong("there is no secret in it")) } else { Ok(secrets) }
}

fn body() -> Result<Vec<u8>, CliError> {
    let mut body = Vec::new();
    let read = io::stdin().lock().take(MOST_BYTES + 1).read_to_end(&mut body);
    read.map_err(|error| CliError::Failed(format!("standard input cannot be read: {error}")))?;
    if body.len() as u64 > MOST_BYTES {
        return Err(CliError::Failed("the body is longer than 1 MiB".into()));
    }
    Ok(body)
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}
