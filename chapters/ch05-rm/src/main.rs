//! `ch05-rm rm`: what is left of a container, removed.

use std::process::ExitCode;

use ch03_run::Terminal;
use ch04_commit::Images;
use ch05_ps::Ps;
use ch05_rm::{Removal, UNDO};
use ch05_stop::Ends;
use clap::{Args, Parser, Subcommand};
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
    #[command(flatten)]
    Images(Images),
    /// List the containers that run
    Ps(Ps),
    #[command(flatten)]
    Ends(Ends),
    #[command(flatten)]
    Removal(Removal),
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
            Action::Removal(action) => action.act(&state, UNDO)?,
        }
        Ok(Exit::Code(0))
    })
}
