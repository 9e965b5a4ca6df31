//! `ch05-stop stop`: a container's end, asked for, enforced, waited for.

use std::process::ExitCode;

use ch03_run::Terminal;
use ch04_commit::{Images, Rm};
use ch05_ps::Ps;
use ch05_stop::Ends;
use clap::{Args, Parser, Subcommand};
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
    #[command(flatten)]
    Images(Images),
    /// List the containers that run
    Ps(Ps),
    #[command(flatten)]
    Ends(Ends),
    /// Remove containers that have ended
    Rm(Rm),
}

#[derive(Args)]
struct Run {
    #[command(flatten)]
    terminal: ch03_run::Flags,

    #[command(flatten)]
    run: ch04_commit::Run,
}

fn main() -> ExitCode {
    cli::main(|Cli { action }| {
        let state = State::locate()?;
        match action {
            Action::Run(flags) => {
                let Run { terminal, run } = *flags;
                return run.container(&state)?.part(Terminal::new(&terminal)).run();
            }
            Action::Images(action) => action.act(&state)?,
            Action::Ps(ps) => ps.act(&state)?,
            Action::Ends(action) => action.act(&state)?,
            Action::Rm(rm) => rm.act(&state)?,
        }
        Ok(Exit::Code(0))
    })
}
