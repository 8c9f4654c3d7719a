//! `incoming bench`: chunk throughput as an operator would measure it, and where its limit lies.
//!
//! It runs against a server of its own, as a process beside it, or against a running one. The bytes
//! are measured without the last chunk of each file, because what ends a file (its sync, its rename,
//! its handover) costs per file and not per byte; that end is measured by itself. Uploads use the
//! public interface only, and what they leave behind is removed the same way.

mod backend;
mod connection;
mod dialect;
mod lives;
mod load;
mod own_server;
mod plan;
mod process;
mod report;
mod target;

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::backend::BackendError;
use super::credentials::CredentialsError;
use super::{CliError, runtime, terminal};
use crate::app::exit_at_second;
use crate::client::{CallError, Connector};
use crate::net::Workers;
use backend::Backend;
use dialect::File;
use load::Load;
pub use plan::BenchArgs;
use plan::Plan;
use report::{Phase, Report};
use target::Target;

/// How long ending workers and their sockets may take: nothing of worth is left in them.
const END: Duration = Duration::from_secs(2);

/// Why there is no measurement.
#[derive(Debug, thiserror::Error)]
enum BenchError {
    #[error(transparent)]
    Call(#[from] CallError),
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
    #[error(transparent)]
    Backend(#[from] BackendError),
    #[error(transparent)]
    Arguments(#[from] CliError),
    #[error("cannot be asked for: {0}")]
    Request(#[from] hyper::http::Error),
    #[error("no answer in time")]
    AnswerTimeout,
    #[error("the answer was cut off: {0}")]
    BrokenAnswer(String),
    #[error("{path}: {status} {text}")]
    Refused { path: String, status: hyper::StatusCode, text: String },
    #[error("an upload task panicked: {0}")]
    Task(#[from] tokio::task::JoinError),
    #[error("{what}: {error}")]
    Io { what: &'static str, error: io::Error },
    #[error("{}: {error}", terminal::path(path))]
    File { path: PathBuf, error: io::Error },
    #[error("no random bytes: {0}")]
    Random(io::Error),
    #[error("cannot make a certificate: {0}")]
    Certificate(#[from] rcgen::Error),
    #[error("the server did not start:\n{0}")]
    NotStarted(String),
    #[error("the server did not start to listen in time")]
    NotListening,
    #[error("process {0} has ended")]
    NoProcess(u32),
    #[error("--backend is not the backend listener of an Incoming!! server")]
    NoBackend,
    #[error("the server does not say where to upload")]
    NoLocation,
    #[error("{id} came with {bytes} bytes")]
    Length { id: String, bytes: u64 },
    #[error("{there} of {all} files were handed over")]
    NotHandedOver { there: usize, all: usize },
    #[error("stopped")]
    Stopped,
}

impl BenchError {
    fn io(what: &'static str) -> impl Fn(io::Error) -> Self {
        move |error| Self::Io { what, error }
    }

    fn at(path: &Path) -> impl Fn(io::Error) -> Self {
        |error| Self::File { path: path.to_owned(), error }
    }
}

/// Measures and prints what came out.
///
/// # Errors
/// The command line asks for what cannot be, the server cannot be started or reached, or an answer
/// was not the one that the bytes deserve: then nothing is printed, since it would not be a
/// measurement.
pub fn bench(args: &BenchArgs) -> Result<(), CliError> {
    let json = args.json;
    let plan = Arc::new(Plan::of(args)?);
    let failed = |error: io::Error| CliError::Failed(format!("cannot start: {error}"));
    let runtime = runtime()?;
    let workers = Workers::start(plan.client_threads).map_err(failed)?;
    let outcome =
        runtime.block_on(async { measure(&plan, &workers).await.map_err(CliError::failed) });
    workers.shutdown(END);
    runtime.shutdown_background();
    let text = match (outcome?, json) {
        (Measured::Bytes(report), true) => report.json(),
        (Measured::Bytes(report), false) => report.table(),
        (Measured::Lives(report), true) => report.json(),
        (Measured::Lives(report), false) => report.table(),
    };
    // Standard output may be gone.
    let _ = writeln!(terminal::stdout(), "{text}");
    Ok(())
}

/// Ends at SIGINT or SIGTERM, so that uploads are taken back, and the own server and its folder go. The second of them
/// ends the process at once.
async fn stopped() {
    use tokio::signal::unix::{SignalKind, signal};
    let all = [SignalKind::interrupt(), SignalKind::terminate()].map(|kind| kind.as_raw_value());
    let second = exit_at_second(&all.map(|number| (number, 128 + number)));
    let (Ok(mut terminate), Ok(())) = (signal(SignalKind::terminate()), second) else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        _ = terminate.recv() => {}
    }
}

/// What came out.
enum Measured {
    /// What bytes cost.
    Bytes(Report),
    /// What files cost.
    Lives(lives::Report),
}

async fn measure(plan: &Arc<Plan>, workers: &Workers) -> Result<Measured, BenchError> {
    let backend = Arc::new(Backend::start(plan).await?);
    let target = Arc::new(Target::open(plan)?);
    let connector = target.connector(plan.protocol)?;
    // A process that is not there is told of before anything is begun.
    target.usage().await?;
    if let Some(files) = plan.lives {
        let lives = lives::measure(plan, files, workers, &connector, &backend, &target);
        return tokio::select! {
            lives = lives => lives.map(Measured::Lives),
            () = stopped() => Err(BenchError::Stopped),
        };
    }
    let files = target.files(plan, &backend.url()).await?;
    let uploading = upload(plan, workers, &backend, &target, &connector, &files);
    let uploaded = tokio::select! {
        uploaded = uploading => uploaded,
        () = stopped() => Err(BenchError::Stopped),
    };
    clear_progress();
    let (bytes, end, in_flight) = match uploaded {
        Ok(uploaded) => uploaded,
        Err(error) => {
            // What cannot be taken back expires.
            let _ = tokio::time::timeout(END, target.cancel(&files)).await;
            return Err(error);
        }
    };
    Ok(Measured::Bytes(Report::new(plan, &bytes, end.as_ref(), in_flight)))
}

/// The bytes, the end of the files where they end, and how many chunks were in flight.
async fn upload(
    plan: &Arc<Plan>,
    workers: &Workers,
    backend: &Backend,
    target: &Target,
    connector: &Connector,
    files: &[Arc<File>],
) -> Result<(Phase, Option<Phase>, usize), BenchError> {
    let mut load = Load::open(plan, workers, connector, files).await?;
    let count = load.count();
    let bytes = phase(target, load.chunks(|done| progress(plan, done))).await?;
    let end = if plan.completes() {
        let end = async {
            let acks = load.last_chunks().await?;
            backend.all_handed_over(plan, files).await?;
            Ok(acks)
        };
        Some(phase(target, end).await?)
    } else {
        target.cancel(files).await?;
        None
    };
    Ok((bytes, end, count))
}

/// What something takes, here and at the server.
async fn phase(
    target: &Target,
    work: impl Future<Output = Result<Vec<Duration>, BenchError>>,
) -> Result<Phase, BenchError> {
    let before = target.usage().await?;
    let (own, all) = (process::own().unwrap_or_default(), process::machine());
    let began = Instant::now();
    let acks = work.await?;
    let wall = began.elapsed();
    let client = process::own().unwrap_or_default().since(own);
    let machine = all.zip(process::machine()).map(|(from, to)| to.saturating_sub(from));
    Ok(Phase { wall, acks, client, machine, before, after: target.usage().await? })
}

/// A line that is written over, for people who watch.
fn progress(plan: &Plan, done: u64) {
    if terminal::is_watched() {
        let percent = done.saturating_mul(100) / plan.measured_bytes().max(1);
        terminal::over(&format!("{percent:3} %  {} MiB ", done >> 20));
    }
}

fn clear_progress() {
    if terminal::is_watched() {
        terminal::over("");
    }
}
