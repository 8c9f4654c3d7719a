//! `incoming uploads`: an operator's view of a running server, over its backend listener.
//!
//! Address and token come from the same configuration as the server's, so on the server's machine
//! nothing need be said, but whom to trust where the listener speaks TLS. The server's certificates
//! and keys are not opened, and the storage directory is not touched: this command may run as another
//! user.

mod short;
mod show;

use std::io::{self, ErrorKind, Write};
use std::path::PathBuf;

use clap::Subcommand;
use serde::Deserialize;
use serde_json::Value;

pub(super) use self::short::{IdError, is_beginning, only};
use super::backend::{BackendClient, BackendError, segment};
use super::{CliError, Credentials, credentials, local_server, runtime, server_settings, terminal};
use crate::config::Secret;

/// Uploads asked for in one call. A page is some tens of kilobytes, and a server with its hundred
/// thousand uploads is listed in a few hundred calls.
const PAGE: u32 = 200;

/// What is usually wrong when a call about one upload is forbidden.
const SECRET: &str =
    " (operator_token needs no secret; --secret-file gives the ticket's backendSecret)";

/// Where the server is, and what to ask it.
#[derive(Debug, Clone, PartialEq, Eq, clap::Args)]
pub struct UploadsArgs {
    /// Backend listener: http(s)://host:port or unix:/path [default: backend_listen of the settings; if that is not
    /// set, /run/incoming/backend.sock if a server listens there]
    #[arg(long, value_name = "ADDRESS", global = true)]
    pub backend: Option<String>,
    /// Token of the backend listener. Other local users can see flags: prefer --token-file or
    /// INCOMING_OPERATOR_TOKEN [default: operator_token of the settings, else backend_token]
    #[arg(long, value_name = "TOKEN", global = true)]
    pub token: Option<Secret>,
    /// File with the token of the backend listener, or - for standard input
    #[arg(long, value_name = "PATH", global = true, conflicts_with = "token")]
    pub token_file: Option<PathBuf>,
    /// Configuration file (TOML) of the server [default: the file named by INCOMING_CONFIG, if any]
    #[arg(long, value_name = "PATH", global = true)]
    pub config: Option<PathBuf>,
    /// Print the server's JSON
    #[arg(long, global = true)]
    pub json: bool,
    /// Certificates.
    #[command(flatten)]
    pub tls: Credentials,
    /// What to ask.
    #[command(subcommand)]
    pub command: UploadsCommand,
}

/// What can be asked about uploads.
#[derive(Debug, Clone, PartialEq, Eq, Subcommand)]
pub enum UploadsCommand {
    /// List uploads
    List {
        /// List only uploads in this state
        #[arg(long, value_parser = ["new", "uploading", "handing_over", "finished", "cancelled", "failed"])]
        state: Option<String>,
        /// List at most this many [default: all]
        #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..))]
        limit: Option<u32>,
    },
    /// Show everything about one upload
    Show {
        /// Ticket id or its beginning, as logs show it
        id: String,
    },
    /// Cancel an upload; its backend gets no call
    Cancel {
        /// Ticket id or its beginning, as logs show it
        id: String,
        /// backendSecret of the ticket, required if it has one and the token is not operator_token. Other local users can see
        /// flags: prefer --secret-file
        #[arg(long)]
        secret: Option<Secret>,
        /// File with the backendSecret, or - for standard input
        #[arg(long, value_name = "PATH", conflicts_with = "secret")]
        secret_file: Option<PathBuf>,
    },
    /// Try a failed handover again now
    Retry {
        /// Ticket id or its beginning, as logs show it
        id: String,
        /// backendSecret of the ticket, required if it has one and the token is not operator_token. Other local users can see
        /// flags: prefer --secret-file
        #[arg(long)]
        secret: Option<Secret>,
        /// File with the backendSecret, or - for standard input
        #[arg(long, value_name = "PATH", conflicts_with = "secret")]
        secret_file: Option<PathBuf>,
    },
}

/// Asks and prints. Each call to the server has a deadline of 30 s.
///
/// # Errors
/// The configuration or the address is wrong; the server cannot be reached or refuses.
pub fn uploads(args: UploadsArgs) -> Result<(), CliError> {
    let (layers, settings) = server_settings(args.config)?;
    let endpoint = local_server::backend(args.backend.as_deref(), &layers, &settings)?;
    let token = credentials::secret(args.token.as_ref(), "token-file", args.token_file.as_deref())?;
    let token = token.or(settings.operator_token).or(settings.backend_token);
    let command = with_secret(args.command)?;
    let client = BackendClient::new(endpoint, token.as_ref(), &args.tls)?;
    let runtime = runtime()?;
    let form = if args.json { Form::Json } else { Form::Table };
    match runtime.block_on(run(&client, command, form, &mut terminal::stdout())) {
        // The reader of the output has seen enough (`| head`).
        Err(UploadsError::Output(error)) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        outcome => outcome.map_err(|error| {
            let hint = error.hint(args.backend.as_deref());
            CliError::failed(format!("{error}{hint}"))
        }),
    }
}

/// The command with its secret in place of the file that holds it.
fn with_secret(command: UploadsCommand) -> Result<UploadsCommand, CliError> {
    let given = |secret: Option<Secret>, file: Option<PathBuf>| {
        credentials::secret(secret.as_ref(), "secret-file", file.as_deref())
    };
    Ok(match command {
        UploadsCommand::Cancel { id, secret, secret_file } => {
            UploadsCommand::Cancel { id, secret: given(secret, secret_file)?, secret_file: None }
        }
        UploadsCommand::Retry { id, secret, secret_file } => {
            UploadsCommand::Retry { id, secret: given(secret, secret_file)?, secret_file: None }
        }
        command @ (UploadsCommand::List { .. } | UploadsCommand::Show { .. }) => command,
    })
}

/// How answers are printed.
#[derive(Clone, Copy)]
enum Form {
    Table,
    Json,
}

/// Why a command did not do what it should.
#[derive(Debug, thiserror::Error)]
enum UploadsError {
    #[error(transparent)]
    Call(#[from] BackendError),
    #[error(transparent)]
    Id(#[from] IdError),
    #[error("the server's list does not advance")]
    EndlessList,
    #[error("cannot write to standard output: {0}")]
    Output(#[from] io::Error),
}

impl UploadsError {
    fn hint(&self, flag: Option<&str>) -> &'static str {
        match self {
            Self::Call(call) | Self::Id(IdError::Call(call)) => call.hint(flag),
            Self::Id(_) | Self::EndlessList | Self::Output(_) => "",
        }
    }
}

/// One command. Dropping it drops the call in flight; the server may still have carried it out.
async fn run(
    client: &BackendClient,
    command: UploadsCommand,
    form: Form,
    out: &mut impl Write,
) -> Result<(), UploadsError> {
    match command {
        UploadsCommand::List { state, limit } => list(client, state, limit, form, out).await,
        UploadsCommand::Show { id } => {
            let id = short::whole(client, &id).await?;
            let path = format!("/incoming/backend/uploads/{}", segment(&id));
            let upload: Value = client.read(&path).await?;
            match form {
                Form::Json => {
                    writeln!(out, "{}", terminal::json_lines(&upload).map_err(io::Error::from)?)?
                }
                Form::Table => show::upload(&upload, out)?,
            }
            Ok(())
        }
        UploadsCommand::Cancel { id, secret, .. } => {
            act(client, "cancel_upload", &id, secret.as_ref(), form, out).await
        }
        UploadsCommand::Retry { id, secret, .. } => {
            act(client, "retry_handover", &id, secret.as_ref(), form, out).await
        }
    }
}

async fn act(
    client: &BackendClient,
    call: &str,
    id: &str,
    secret: Option<&Secret>,
    form: Form,
    out: &mut impl Write,
) -> Result<(), UploadsError> {
    let id = &*short::whole(client, id).await?;
    let path = format!("/incoming/backend/{call}");
    let secret = secret.map_or("", Secret::expose);
    let fields = [("id", id), ("backendSecret", secret)];
    client.post(&path, &fields).await.map_err(|error| match error {
        BackendError::Forbidden(why) => BackendError::Forbidden(format!("{why}{SECRET}")),
        error => error,
    })?;
    match form {
        Form::Json => writeln!(out, "{}", serde_json::json!({ "id": id, "ok": true }))?,
        Form::Table => writeln!(out, "ok")?,
    }
    Ok(())
}

/// A page of the list.
#[derive(Deserialize)]
struct Page {
    uploads: Vec<Value>,
    next: Option<String>,
}

/// Page after page, printed as they come. The end is a page without `next`; a `next` that does not come
/// behind the one before is an error, so a confused server cannot keep this going in a circle.
async fn list(
    client: &BackendClient,
    state: Option<String>,
    limit: Option<u32>,
    form: Form,
    out: &mut impl Write,
) -> Result<(), UploadsError> {
    let mut left = limit.unwrap_or(u32::MAX);
    let mut after: Option<String> = None;
    let mut printed = 0_u32;
    loop {
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.append_pair("limit", &left.min(PAGE).to_string());
        state.iter().for_each(|state| _ = query.append_pair("state", state));
        after.iter().for_each(|after| _ = query.append_pair("after", after));
        let path = format!("/incoming/backend/uploads?{}", query.finish());
        let page: Page = client.read(&path).await?;
        // The head waits for the first answer: a server that cannot be reached has no list.
        if after.is_none() {
            match form {
                Form::Json => write!(out, "[")?,
                Form::Table => show::head(out)?,
            }
        }
        for upload in &page.uploads {
            if left == 0 {
                break;
            }
            match form {
                Form::Json => {
                    let upload = terminal::json(upload).map_err(io::Error::from)?;
                    write!(out, "{}\n{upload}", if printed > 0 { "," } else { "" })?;
                }
                Form::Table => show::row(upload, out)?,
            }
            left -= 1;
            printed += 1;
        }
        out.flush()?;
        match page.next {
            Some(next) if left > 0 => {
                if page.uploads.is_empty() || after.as_ref() >= Some(&next) {
                    return Err(UploadsError::EndlessList);
                }
                after = Some(next);
            }
            _ => break,
        }
    }
    if let Form::Json = form {
        writeln!(out, "\n]")?;
    }
    Ok(())
}

#[cfg(test)]
#[path = "uploads/tests.rs"]
mod tests;
