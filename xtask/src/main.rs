//! The workspace's commands: `cargo xtask <command>`, one file a command.

mod tidy;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// The workspace's commands.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Check the rules of the house: module docs, file length, public signatures, backend file names
    Tidy,
}

fn main() -> ExitCode {
    match Arguments::parse().command {
        Command::Tidy => tidy::run(),
    }
}
