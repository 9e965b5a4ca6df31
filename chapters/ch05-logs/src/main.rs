//! `ch05-logs logs -f CONTAINER`: show and follow the output of a container.

use std::process::ExitCode;

use ch04_image::{Rm, UNDO};
use ch05_detach::Run;
use ch05_logs::Commands;
use clap::Parser;
use common::cli::{self, Context, Execute};

/// Chapter 5, logs: show the output of a container.
///
/// The container's standard output goes to standard output, and its standard error
/// to standard error, in the order in which the supervisor read them. The log is
/// kept until `rm`.
#[derive(Parser)]
#[command(name = "ch05-logs", after_help = common::after_help!("\
Try:
  ch05-logs run -d --name one busybox sh -c 'while date; do sleep 1; done'
  ch05-logs logs --tail 2 --timestamps one
  ch05-logs logs -f --since 10s one
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
