//! The `incoming` program: parse, run, exit code.

use clap::Parser;
use incoming::cli::{self, Cli, Command};
use std::process::ExitCode;

/// Frames come and go by the thousand, each a few hundred KiB (see Cargo.toml for the measurement).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    cli::conclude(match Cli::parse().command {
        Command::Serve(args) => cli::serve(*args),
        Command::CheckConfig(args) => cli::check_config(*args),
        Command::Uploads(args) => cli::uploads(args),
        Command::Bench(args) => cli::bench(args),
        Command::Demo(args) => cli::demo(args),
        Command::Upload(args) => cli::upload(args),
    })
}
