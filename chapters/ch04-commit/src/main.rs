//! `ch04-commit commit CONTAINER IMAGE`: what a container wrote, kept as an image.

use std::process::ExitCode;

use ch03_run::Terminal;
use ch04_commit::{Images, Rm};
use clap::{Args, Parser, Subcommand};
use common::state::State;
use common::{Exit, cli};

/// Chapter 4, commit: images.
///
/// A container stays when its program has ended, until `rm`. What it has written
/// becomes the topmost layer of a new image, or a tar.
#[derive(Parser)]
#[command(name = "ch04-commit", after_help = common::after_help!("\
Try:
  ch04-commit run --name one busybox sh -c 'echo hello > /greeting'
  ch04-commit commit one greeting
  ch04-commit run --rm greeting cat /greeting
  ch04-commit export one | tar -t | head
  ch04-commit rm one; ch04-commit rmi greeting; ch04-commit images
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
            Action::Rm(rm) => rm.act(&state)?,
        }
        Ok(Exit::Code(0))
    })
}
