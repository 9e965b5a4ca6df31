//! `ch05-logs logs -f CONTAINER`: what a container prints.

use std::process::ExitCode;

use ch04_commit::{Images, Rm};
use ch05_detach::Run;
use ch05_logs::Logs;
use ch05_ps::Ps;
use clap::{Parser, Subcommand};
use common::state::State;
use common::{Exit, cli};

/// Chapter 5, logs: what a container has printed.
///
/// Standard output comes on standard output, standard error on standard error, in the
/// order in which they were read. It is kept until `rm`.
#[derive(Parser)]
#[command(name = "ch05-logs", after_help = common::after_help!("\
Try:
  ch05-logs run -d --name one busybox sh -c 'while date; do sleep 1; done'
  ch05-logs logs --tail 2 --timestamps one
  ch05-logs logs -f --since 10s one
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
    /// Show what a container has printed
    Logs(Logs),
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
            Action::Logs(logs) => logs.act(&state)?,
            Action::Images(action) => action.act(&state)?,
            Action::Rm(rm) => rm.act(&state)?,
        }
        Ok(Exit::Code(0))
    })
}
