//! The project's tasks: `cargo xtask`.
#![allow(clippy::print_stdout, reason = "results go to standard output")]

mod bench;
mod book;
mod fetch;
mod test;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};
use clap::{Parser, Subcommand};

/// The project's tasks.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Get busybox, the image that the chapters start from
    Fetch(fetch::Args),
    /// Run the black-box tests of all chapters
    Test(test::Args),
    /// Build the book
    Book(book::Args),
    /// Measure
    Bench(bench::Args),
}

fn main() -> ExitCode {
    let done = match Cli::parse().task {
        Task::Fetch(args) => fetch::run(&args),
        Task::Test(args) => test::run(args),
        Task::Book(args) => book::run(&args),
        Task::Bench(args) => bench::run(args),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {}", common::step::report(&error));
            ExitCode::FAILURE
        }
    }
}

/// The root of the checkout.
fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_owned()
}

/// The build directory.
fn target() -> PathBuf {
    match std::env::var_os("CARGO_TARGET_DIR") {
        Some(path) => root().join(path),
        None => root().join("target"),
    }
}

fn cargo() -> Command {
    let mut cargo =
        Command::new(std::env::var_os("CARGO").unwrap_or("cargo".into()));
    cargo.current_dir(root());
    cargo
}

/// Run a command with our own streams; its failure is ours.
fn must(command: &mut Command) -> Result<()> {
    let name = command.get_program().to_string_lossy().into_owned();
    let status = command.status().with_context(|| name.clone())?;
    if !status.success() {
        let args: Vec<_> =
            command.get_args().map(|arg| arg.to_string_lossy()).collect();
        bail!("{name} {}: {status}", args.join(" "));
    }
    Ok(())
}
