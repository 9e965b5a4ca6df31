//! `ch05-ps ps`: which containers there are, and how each is.

use std::process::ExitCode;

use ch04_commit::{Images, Rm};
use ch05_detach::Run;
use ch05_ps::Ps;
use clap::{Parser, Subcommand};
use common::state::State;
use common::{Exit, cli};

/// Chapter 5, ps: which containers there are.
///
/// Those that run, by name, process id and age; with -a also those that have ended,
/// with their exit codes.
#[derive(Parser)]
#[command(name = "ch05-ps", after_help = common::after_help!("\
Try:
  ch05-ps run --name one busybox sleep 60 &
  ch05-ps ps
  ch05-ps run --name two busybox sh -c 'exit 3'
  ch05-ps ps -a
  ch05-ps ps --all --json
"))]
struct Cli {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Run a program in a container of an image
    Run(Box<Run>),
    /// List the containers that run
    Ps(Ps),
    #[command(flatten)]
    Images(Images),
    /// Remove containers that have ended
    Rm(Rm),
}

fn main() -> ExitCode {
    cli::main(|Cli { action }| {
        let state = State::locate()?;
        match action {
            Action::Run(run) => return run.act(&state),
            Action::Ps(ps) => ps.act(&state)?,
            Action::Images(action) => action.act(&state)?,
            Action::Rm(rm) => rm.act(&state)?,
        }
        Ok(Exit::Code(0))
    })
}
