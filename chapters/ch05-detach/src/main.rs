//! `ch05-detach run -d IMAGE COMMAND`: a detached container.

use std::process::ExitCode;

use ch04_image::{Rm, UNDO};
use ch04_tar::Commands;
use ch05_detach::Run;
use clap::Parser;
use common::cli::{self, Context, Execute};

/// Chapter 5, detach: a container that runs in the background.
///
/// With -d, `run` returns as soon as the program runs. A supervisor stays with the
/// container, writes its output to a log, and records its exit status.
#[derive(Parser)]
#[command(name = "ch05-detach", after_help = common::after_help!("\
Try:
  ch05-detach run -d --name one busybox sh -c 'echo hello; sleep 20'
  cat /var/lib/mydocker/containers/*/log
  ch05-detach run -d busybox no-such-program; echo $?
  ch05-detach rm one
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
        Images(Commands),
    }
}

fn main() -> ExitCode {
    cli::main(|Cli { action }| action.execute(&Context::locate(UNDO)?))
}
