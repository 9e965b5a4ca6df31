//! `ch05-env run -e K=V -u USER IMAGE COMMAND`: a program's surroundings.

use std::process::ExitCode;

use ch04_commit::Images;
use ch05_env::{Attach, Exec, Run};
use ch05_logs::Logs;
use ch05_ps::Ps;
use ch05_rm::{Removal, UNDO};
use ch05_stop::Ends;
use clap::{Parser, Subcommand};
use common::state::State;
use common::{Exit, cli};

/// Chapter 5, env: as whom, where, and in which environment a program runs.
///
/// The environment is the image's and what the flags say, never the caller's.
#[derive(Parser)]
#[command(name = "ch05-env", after_help = common::after_help!("\
Try:
  ch05-env run --rm -e WORD=hello busybox sh -c 'echo $WORD'
  ch05-env run --rm -u nobody busybox id
  ch05-env run --rm -w /srv/new busybox pwd
  ch05-env run --rm --read-only busybox touch /file       fails
  ch05-env run -d -ti --init --name one busybox sh
  ch05-env attach one                                     back: ctrl-p ctrl-q
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
    /// Go back to a container in the background
    Attach(Attach),
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
            Action::Attach(attach) => return attach.act(&state),
            Action::Ps(ps) => ps.act(&state)?,
            Action::Logs(logs) => logs.act(&state)?,
            Action::Ends(action) => action.act(&state)?,
            Action::Images(action) => action.act(&state)?,
            Action::Removal(action) => action.act(&state, UNDO)?,
        }
        Ok(Exit::Code(0))
    })
}
