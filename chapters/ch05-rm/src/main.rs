//! `ch05-rm rm`: what is left of a container, removed.

use std::process::ExitCode;

use ch04_commit::Images;
use ch05_detach::Run;
use ch05_exec::Exec;
use ch05_logs::Logs;
use ch05_ps::Ps;
use ch05_rm::{Removal, UNDO};
use ch05_stop::Ends;
use clap::{Parser, Subcommand};
use common::state::State;
use common::{Exit, cli};

/// Chapter 5, rm: what is left of a container.
///
/// `rm` removes what one container has, also when its host side was killed; `prune`
/// does so with all that nobody holds.
#[derive(Parser)]
#[command(name = "ch05-rm", after_help = common::after_help!("\
Try:
  ch05-rm run --name one busybox sleep 60 &
  ch05-rm rm one
  ch05-rm rm -f one
  ch05-rm run busybox true; ch05-rm run busybox false
  ch05-rm prune; ch05-rm ps -a
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
    #[command(flatten)]
    Removal(Removal),
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
            Action::Removal(action) => action.act(&state, UNDO)?,
        }
        Ok(Exit::Code(0))
    })
}
