//! `ch05-stop stop`: a container's end, asked for, enforced, waited for.

use std::process::ExitCode;

use ch04_commit::{Images, Rm};
use ch05_detach::Run;
use ch05_exec::Exec;
use ch05_logs::Logs;
use ch05_ps::Ps;
use ch05_stop::Ends;
use clap::{Parser, Subcommand};
use common::state::State;
use common::{Exit, cli};

/// Chapter 5, stop: a container's end.
///
/// `stop` asks its program to end, and after a while makes it; `kill` sends it any
/// signal; `wait` tells how it ended.
#[derive(Parser)]
#[command(name = "ch05-stop", after_help = common::after_help!("\
Try:
  ch05-stop run --name one busybox sh -c 'trap \"exit 3\" TERM; while :; do sleep 1; done' &
  ch05-stop stop one
  ch05-stop wait one
  ch05-stop run --name two busybox sleep 60 &
  ch05-stop stop -t 1 two; ch05-stop ps -a
  ch05-stop rm one two
"))]
struct Cli {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Run a program in a container of an image
    Run(Box<Run>),
    /// Run another program in a container that runs
    Exec(Exec),
    /// List the containers that run
    Ps(Ps),
    /// Show what a container has printed
    Logs(Logs),
    #[command(flatten)]
    Ends(Ends),
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
            Action::Exec(exec) => return exec.act(&state),
            Action::Ps(ps) => ps.act(&state)?,
            Action::Logs(logs) => logs.act(&state)?,
            Action::Ends(action) => action.act(&state)?,
            Action::Images(action) => action.act(&state)?,
            Action::Rm(rm) => rm.act(&state)?,
        }
        Ok(Exit::Code(0))
    })
}
