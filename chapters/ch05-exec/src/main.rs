//! `ch05-exec exec CONTAINER COMMAND`: a second program in a container that runs.

use std::process::ExitCode;

use ch04_commit::{Images, Rm};
use ch05_detach::Run;
use ch05_exec::Exec;
use ch05_logs::Logs;
use ch05_ps::Ps;
use clap::{Parser, Subcommand};
use common::state::State;
use common::{Exit, cli};

/// Chapter 5, exec: a second program in a container that runs.
///
/// It has what the container's own program has: namespaces, cgroup, root, environment,
/// working directory.
#[derive(Parser)]
#[command(name = "ch05-exec", after_help = common::after_help!("\
Try:
  ch05-exec run --name one busybox sleep 1000     and at another terminal:
  ch05-exec exec -ti one sh                       then: ps, hostname, exit
  ch05-exec exec -e WORD=hello one sh -c 'echo $WORD $HOSTNAME'
  ch05-exec exec --trace one true                 each step of joining
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
            Action::Images(action) => action.act(&state)?,
            Action::Rm(rm) => rm.act(&state)?,
        }
        Ok(Exit::Code(0))
    })
}
