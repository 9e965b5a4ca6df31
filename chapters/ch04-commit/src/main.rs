//! `ch04-commit commit CONTAINER IMAGE`: create an image from a container.

use std::process::ExitCode;

use ch04_commit::Commit;
use ch04_image::{Images, Rm, Rmi, RunAtTerminal, UNDO};
use clap::Parser;
use common::cli::{self, Context, Execute};

/// Chapter 4, commit: create an image from a container.
///
/// The container's write layer becomes the topmost layer of a new image.
#[derive(Parser)]
#[command(name = "ch04-commit", after_help = common::after_help!("\
Try:
  ch04-commit run --name one busybox sh -c 'echo hello > /greeting'
  ch04-commit commit one greeting
  ch04-commit run --rm greeting cat /greeting
  ch04-commit rm one; ch04-commit rmi greeting; ch04-commit images
"))]
struct Cli {
    #[command(subcommand)]
    action: Action,
}

common::commands! {
    enum Action {
        Run(Box<RunAtTerminal>),
        Commit(Commit),
        Images(Images),
        Rmi(Rmi),
        Rm(Rm),
    }
}

fn main() -> ExitCode {
    cli::main(|Cli { action }| action.execute(&Context::locate(UNDO)?))
}
