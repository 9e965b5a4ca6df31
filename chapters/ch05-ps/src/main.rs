//! `ch05-ps ps`: list containers and their status.

use std::process::ExitCode;

use ch04_image::{Rm, UNDO};
use ch05_detach::Run;
use ch05_ps::Commands;
use clap::Parser;
use common::cli::{self, Context, Execute};

/// Chapter 5, ps: list containers.
///
/// `ps` shows running containers with name, PID and age. With -a, it also shows
/// containers that have ended, with their exit statuses.
#[derive(Parser)]
#[command(name = "ch05-ps", after_help = common::after_help!("\
Try:
  ch05-ps run --name one busybox sleep 60 &
  ch05-ps ps
  ch05-ps run --name two busybox sh -c 'exit 3'
  ch05-ps ps -a
  ch05-ps ps --all --json
"))]
struct Cli {
    #[command(subcommand)]
    action: Action,
}

common::commands! {
    enum Action {
        Run(Box<Run>),
        Rm(Rm),
        #[command(flatten)]
        Others(Commands),
    }
}

fn main() -> ExitCode {
    cli::main(|Cli { action }| action.execute(&Context::locate(UNDO)?))
}
