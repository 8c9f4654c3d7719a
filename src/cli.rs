//! The command line: what was typed, parsed; one file for each subcommand.
//!
//! Exit codes: 0 done, 1 tried and failed, 2 the command line or the configuration is wrong; 128 and
//! its number where a signal ended it.
//! A failure is one line on standard error.

mod backend;
mod bench;
mod completions;
mod credentials;
mod demo;
mod doctor;
mod health;
mod local_server;
mod man;
mod page;
mod serve;
mod sign;
mod terminal;
mod upload;
mod uploads;
mod verify;

use std::fmt;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use tokio::runtime::{Builder, Runtime};

pub use bench::{BenchArgs, bench};
pub use completions::{CompletionsArgs, completions};
pub use credentials::Credentials;
pub use demo::{DemoArgs, demo};
pub use doctor::{DoctorArgs, doctor};
pub use health::{HealthArgs, health};
pub use man::{ManArgs, man};
pub use page::{PageArgs, page};
#[cfg(feature = "cluster")]
pub use serve::schema;
pub use serve::{CheckConfigArgs, ServeArgs, check_config, serve};
pub use sign::{SignArgs, VerifyHandoverArgs, sign, verify_handover};
pub use upload::{UploadArgs, upload};
pub use uploads::{UploadsArgs, UploadsCommand, uploads};
pub use verify::{VerifyArgs, verify};

use crate::app::telemetry;
use crate::config::{ConfigError, Flags, Layers, Settings, parse_size};

/// Upload server for large files: resumable uploads, handed over to your web app
#[derive(Debug, Clone, PartialEq, Eq, Parser)]
#[command(name = "incoming", version, subcommand_required = true, arg_required_else_help = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The subcommands.
#[derive(Debug, Clone, PartialEq, Eq, Subcommand)]
pub enum Command {
    /// Run the server
    Serve(Box<ServeArgs>),
    /// Run the server with a small web app and page, to try it out; needs no settings
    Demo(DemoArgs),
    /// Upload files; resumes where an earlier attempt stopped
    Upload(Box<UploadArgs>),
    /// List, show, cancel and retry the uploads of a running server
    Uploads(UploadsArgs),
    /// Print the address of the operator's page, with the operator's token
    Page(PageArgs),
    /// Check whether a running server is healthy; exit code 0 or 1
    Health(HealthArgs),
    /// Check a storage directory for damage (read-only)
    Verify(VerifyArgs),
    /// Measure upload throughput, of a server started for it or of a running one
    Bench(BenchArgs),
    /// Diagnose proxies in front of a server and suggest configuration fixes
    Doctor(DoctorArgs),
    /// Check the configuration without starting the server, and print the settings in force
    CheckConfig(Box<CheckConfigArgs>),
    /// Print the SQL that makes the tables of the shared log (journal = "postgres")
    #[cfg(feature = "cluster")]
    Schema,
    /// Sign a call to a backend as the server does: prints the headers for the body on standard input
    Sign(SignArgs),
    /// Check the signature of a call that a backend got; the body is on standard input, as it came
    VerifyHandover(VerifyHandoverArgs),
    /// Print the completion script of a shell
    Completions(CompletionsArgs),
    /// Print the manual page of a command, or write all of them
    Man(ManArgs),
}

/// Why a command failed.
#[derive(Debug)]
pub enum CliError {
    /// The configuration is wrong: exit code 2.
    Config(ConfigError),
    /// An argument is wrong in a way that the parser could not see: exit code 2.
    Usage(String),
    /// It was tried and did not work: exit code 1.
    Failed(String),
    /// A signal ended it: exit code 128 and the signal's number, as of a process that it killed.
    Stopped {
        /// How to go on.
        line: String,
        /// The signal's number.
        signal: i32,
    },
}

impl CliError {
    /// The exit code of the process.
    #[must_use]
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Self::Config(_) | Self::Usage(_) => ExitCode::from(2),
            Self::Failed(_) => ExitCode::FAILURE,
            Self::Stopped { signal, .. } => {
                u8::try_from(128 + signal).map_or(ExitCode::FAILURE, ExitCode::from)
            }
        }
    }
}

impl CliError {
    /// An argument is wrong, as `error` says.
    fn usage(error: impl fmt::Display) -> Self {
        Self::Usage(error.to_string())
    }

    /// It did not work, as `error` says.
    fn failed(error: impl fmt::Display) -> Self {
        Self::Failed(error.to_string())
    }

    /// For standard error: each line begins with the name of the program.
    fn shown(&self) -> String {
        terminal::lines(&format!("incoming: {}\n", self.to_string().replace('\n', "\nincoming: ")))
    }
}

impl From<ConfigError> for CliError {
    fn from(error: ConfigError) -> Self {
        Self::Config(error)
    }
}

impl fmt::Display for CliError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config(error) => error.fmt(out),
            Self::Usage(line) | Self::Failed(line) | Self::Stopped { line, .. } => {
                out.write_str(line)
            }
        }
    }
}

impl std::error::Error for CliError {}

/// What was typed. Help and version are printed, and the process ends, where they were asked for.
///
/// # Errors
/// An unknown or impossible argument, in one line that names it: exit code 2.
pub fn typed() -> Result<Command, CliError> {
    match Cli::try_parse() {
        Ok(cli) => Ok(cli.command),
        Err(error) if is_help(&error) => error.exit(),
        Err(error) => Err(CliError::Usage(one_line(&error.to_string()))),
    }
}

fn is_help(error: &clap::Error) -> bool {
    use clap::error::ErrorKind;
    matches!(
        error.kind(),
        ErrorKind::DisplayHelp
            | ErrorKind::DisplayVersion
            | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
    )
}

/// The parser's message without its usage, which `--help` has.
fn one_line(message: &str) -> String {
    let said = message.lines().map(str::trim).take_while(|line| !line.starts_with("Usage:"));
    let said: Vec<_> =
        said.filter(|line| !line.is_empty() && !line.starts_with("For more ")).collect();
    let said = said.join(" ").replace(" tip: ", "; ");
    format!("{} (see --help)", said.trim_start_matches("error: "))
}

/// The end of a command: nothing on success, else one line on standard error; and the exit code.
#[must_use]
pub fn conclude(outcome: Result<(), CliError>) -> ExitCode {
    match outcome {
        Ok(()) => {
            telemetry::flush();
            ExitCode::SUCCESS
        }
        Err(error) => {
            telemetry::last_words(&error.shown());
            error.exit_code()
        }
    }
}

/// The runtime of a command: one thread, the caller's.
fn runtime() -> Result<Runtime, CliError> {
    let runtime = Builder::new_current_thread().enable_all().build();
    runtime.map_err(|error| CliError::Failed(format!("cannot start: {error}")))
}

/// The settings of the server on this machine, and where they stand, without looking at the files that they name.
fn server_settings(config: Option<PathBuf>) -> Result<(Layers, Settings), CliError> {
    let layers = Layers::gather(Flags::default(), config, std::env::vars_os())?;
    let settings = Settings::read(&layers)?;
    Ok((layers, settings))
}

/// Text to standard output, where whoever has seen enough may close it (`| head`).
fn print(text: &str) -> Result<(), CliError> {
    printed(std::io::Write::write_all(&mut terminal::stdout(), text.as_bytes()))
}

fn printed(outcome: std::io::Result<()>) -> Result<(), CliError> {
    match outcome {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(CliError::Failed(format!("cannot write to standard output: {error}")))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

/// What is wrong with an argument, for the parser.
type ArgumentError = Box<dyn std::error::Error + Send + Sync>;

/// A size that is not nothing, as an argument.
fn positive_size(text: &str) -> Result<u64, ArgumentError> {
    match parse_size(text)? {
        0 => Err("must be at least 1 byte".into()),
        bytes => Ok(bytes),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;
    use crate::config::{Layers, Settings};

    fn parse(line: &str) -> Result<Command, clap::Error> {
        Cli::try_parse_from(line.split_whitespace()).map(|cli| cli.command)
    }

    #[test]
    fn is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn parses_settings() {
        fn check(line: &str, expected: &[(&str, &str)], config: Option<&str>) {
            let args = match parse(line).unwrap() {
                Command::Serve(parsed) => parsed,
                Command::CheckConfig(parsed) => Box::new(parsed.serve),
                other => panic!("{line} is {other:?}"),
            };
            assert_eq!(args.config, config.map(Into::into), "{line}");
            let file: String =
                expected.iter().map(|(key, value)| format!("{key} = {value}\n")).collect();
            let expected = Settings::read(&Layers::of_text(&file).unwrap()).unwrap();
            let layers = Layers::gather(args.settings, None, []).unwrap();
            assert_eq!(Settings::read(&layers).unwrap(), expected, "{line}");
        }
        check("incoming serve", &[], None);
        check("incoming check-config --config a.toml", &[], Some("a.toml"));
        check(
            "incoming serve --backend-listen unix:/b --min-rate 0",
            &[("backend_listen", "'unix:/b'"), ("min_rate", "0")],
            None,
        );
        for open in ["--backend-open", "--backend-open true", "--backend-open=true"] {
            let expected = [("backend_open", "true"), ("ack", "'written'")];
            check(&format!("incoming serve {open} --ack written"), &expected, None);
        }
        check(
            "incoming serve --cors-origins http://a,http://b --cors-origins http://c",
            &[("cors_origins", "['http://a', 'http://b', 'http://c']")],
            None,
        );
    }

    #[test]
    fn usage_errors_exit_with_2() {
        for line in [
            "incoming",
            "incoming serve --chunk-sise 1",
            "incoming serve --chunk-size",
            "incoming serve stray",
            "incoming surf",
            "incoming upload",
            "incoming upload film.mp4",
            "incoming upload a --url http://x --backend http://y",
            "incoming upload a --backend http://y",
            "incoming upload a --url http://x --secret s",
            "incoming upload a --url http://x --secret-file s",
            "incoming upload a --backend http://y --signal-finish-url http://z --token t --token-file f",
            "incoming uploads cancel 1234 --secret s --secret-file f",
            "incoming bench --url http://x --token t --token-file f",
            "incoming upload a --url http://x --parallel 0",
            "incoming upload a --url http://x --chunk-size 8M",
            "incoming uploads",
            "incoming uploads show",
            "incoming uploads list --limit 0",
            "incoming demo --https-port 70000",
        ] {
            assert_eq!(parse(line).unwrap_err().exit_code(), 2, "{line}");
        }
        assert_eq!(parse("incoming --help").unwrap_err().exit_code(), 0);
        assert_eq!(parse("incoming serve --help").unwrap_err().exit_code(), 0);
    }

    #[test]
    fn an_error_and_its_tip_are_two_clauses() {
        let said =
            one_line(&parse("incoming check-config --chunk-sise 3").unwrap_err().to_string());
        let wanted = "unexpected argument '--chunk-sise' found; a similar argument exists: '--chunk-size' (see --help)";
        assert_eq!(said, wanted);
    }

    /// Flags can be read by every user of the machine: whoever types a secret is told where else it can stand.
    #[test]
    fn issue_13_each_flag_that_takes_a_secret_says_who_sees_it() {
        fn look(command: &clap::Command, found: &mut usize) {
            for flag in command.get_arguments() {
                let name = flag.get_long().unwrap_or_default();
                if !["token", "secret", "backend-token", "url"].contains(&name) {
                    continue;
                }
                let help = flag.get_help().map(ToString::to_string).unwrap_or_default();
                if name == "url" && !help.contains("ticket") {
                    continue;
                }
                *found += 1;
                let who = format!("{} --{name}: {help}", command.get_name());
                assert!(help.contains("can see flags"), "{who}");
                assert!(["-file", "`-`", "the file"].iter().any(|it| help.contains(it)), "{who}");
            }
            command.get_subcommands().for_each(|below| look(below, found));
        }
        let mut found = 0;
        look(&Cli::command(), &mut found);
        assert!(found >= 9, "{found}");
    }

    #[test]
    fn demo_and_upload_have_their_defaults() {
        let demo = DemoArgs {
            https_port: 4443,
            http_port: 4080,
            backend_port: 4001,
            lan: false,
            dir: "./incoming-demo-data".into(),
            host: vec![],
        };
        assert_eq!(parse("incoming demo").unwrap(), Command::Demo(demo.clone()));
        let hosts = DemoArgs { host: vec!["a".into(), "b".into()], ..demo };
        assert_eq!(parse("incoming demo --host a --host b").unwrap(), Command::Demo(hosts));
        let upload = UploadArgs {
            files: vec!["a".into(), "b".into()],
            url: None,
            backend: Some("http://localhost:4001".into()),
            signal_finish_url: Some("http://app/done".into()),
            secret: None,
            secret_file: None,
            public: None,
            token: None,
            token_file: None,
            chunk_size: Some(1 << 20),
            parallel: None,
            http2: false,
            retry_for: None,
            restart_changed: false,
            cancel: false,
            json: false,
            tls: Credentials::default(),
        };
        let line = "incoming upload a b --backend http://localhost:4001 \
                    --signal-finish-url http://app/done --chunk-size 1MiB";
        assert_eq!(parse(line).unwrap(), Command::Upload(Box::new(upload)));
    }
}
