//! The `incoming` program: parse, run, exit code.

use incoming::cli::{self, Command};
use std::process::ExitCode;

/// Frames come and go by the thousand, each a few hundred KiB (see Cargo.toml for the measurement).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    cli::conclude(cli::typed().and_then(|command| match command {
        Command::Serve(args) => cli::serve(*args),
        Command::CheckConfig(args) => cli::check_config(&args),
        #[cfg(feature = "cluster")]
        Command::Schema => cli::schema(),
        Command::Uploads(args) => cli::uploads(args),
        Command::Page(args) => cli::page(args),
        Command::Bench(args) => cli::bench(&args),
        Command::Demo(args) => cli::demo(args),
        Command::Upload(args) => cli::upload(&args),
        Command::Doctor(args) => cli::doctor(&args),
        Command::Health(args) => cli::health(args),
        Command::Verify(args) => cli::verify(&args),
        Command::Sign(args) => cli::sign(&args),
        Command::VerifyHandover(args) => cli::verify_handover(&args),
        Command::Completions(args) => cli::completions(&args),
        Command::Man(args) => cli::man(&args),
    }))
}
