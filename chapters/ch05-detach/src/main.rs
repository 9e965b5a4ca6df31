//! `ch05-detach run -d IMAGE COMMAND`: a container in the background.

use std::process::ExitCode;

use ch04_commit::{Images, Rm};
use ch05_detach::Run;
use clap::{Parser, Subcommand};
use common::state::State;
use common::{Exit, cli};

/// Chapter 5, detach: a container that outlives the terminal.
///
/// With -d `run` returns as soon as the program runs. A supervisor of its own stays
/// with the container, keeps what it prints, and writes down how it ended.
#[derive(Parser)]
#[command(name = "ch05-detach", after_help = common::after_help!("\
Try:
  ch05-detach run -d --name one busybox sh -c 'echo hello; sleep 20'
  cat /var/lib/mydocker/containers/*/log
  ch05-detach run -d busybox no-such-program; echo $?
  ch05-detach rm one
"))]
struct Cli {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Run a program in a container of an image
    Run(Box<Run>),
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
            Action::Images(action) => action.act(&state)?,
            Action::Rm(rm) => rm.act(&state)?,
        }
        Ok(Exit::Code(0))
    })
}
