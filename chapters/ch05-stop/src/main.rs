//! `ch05-stop stop`: stop a container, kill it, or wait for its end.

use std::process::ExitCode;

use ch04_image::{Rm, UNDO};
use ch05_detach::Run;
use ch05_exec::Exec;
use ch05_stop::Commands;
use clap::Parser;
use common::cli::{self, Context, Execute};

/// Chapter 5, stop: stop containers.
///
/// `stop` sends the program SIGTERM and, after a while, SIGKILL. `kill` sends any
/// signal. `wait` waits for the end and prints the exit status.
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

common::commands! {
    enum Action {
        Run(Box<Run>),
        Exec(Exec),
        Rm(Rm),
        #[command(flatten)]
        Others(Commands),
    }
}

fn main() -> ExitCode {
    cli::main(|Cli { action }| action.execute(&Context::locate(UNDO)?))
}
