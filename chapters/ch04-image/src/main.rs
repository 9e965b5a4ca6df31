//! `ch04-image run IMAGE COMMAND`: images with names, and containers that are kept
//! after their end.

use std::process::ExitCode;

use ch04_image::{Images, Rm, Rmi, RunAtTerminal, UNDO};
use clap::Parser;
use common::cli::{self, Context, Execute};

/// Chapter 4, image: images by name.
///
/// A container is created from an image. After its program has ended, the container
/// is kept until `rm` removes it.
#[derive(Parser)]
#[command(name = "ch04-image", after_help = common::after_help!("\
Try:
  ch04-image images
  ch04-image run --name one busybox sh -c 'echo hello > /greeting'
  ch04-image run --rm busybox cat /greeting      fails: another container
  ch04-image rm one
"))]
struct Cli {
    #[command(subcommand)]
    action: Action,
}

common::commands! {
    enum Action {
        Run(Box<RunAtTerminal>),
        Images(Images),
        Rmi(Rmi),
        Rm(Rm),
    }
}

fn main() -> ExitCode {
    cli::main(|Cli { action }| action.execute(&Context::locate(UNDO)?))
}
