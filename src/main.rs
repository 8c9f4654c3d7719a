//! The `incoming` program: parse, run, exit code.

use clap::Parser;
use incoming::cli::{self, Cli, Command};
use std::process::ExitCode;

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
