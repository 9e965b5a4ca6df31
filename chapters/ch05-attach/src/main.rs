//! `ch05-attach attach CONTAINER`: attach to a detached container.

use std::process::ExitCode;

use ch05_attach::{Attach, Run, UNDO};
use ch05_env::Exec;
use ch05_rm::Commands;
use clap::Parser;
use common::cli::{self, Context, Execute};

/// Chapter 5, attach: attach to a detached container.
///
/// `run -d` with -t or -i creates a terminal or a pipe for the program. `attach`
/// connects your terminal to it. After the detach keys, the program continues.
#[derive(Parser)]
#[command(name = "ch05-attach", after_help = common::after_help!("\
Try:
  ch05-attach run -d -ti --init --name one busybox sh
  ch05-attach attach one                         detach: ctrl-p ctrl-q
  ch05-attach rm -f one
"))]
struct Cli {
    #[command(subcommand)]
    action: Action,
}

common::commands! {
    enum Action {
        Run(Box<Run>),
        Exec(Exec),
        Attach(Attach),
        #[command(flatten)]
        Others(Commands),
    }
}

fn main() -> ExitCode {
    cli::main(|Cli { action }| action.execute(&Context::locate(UNDO)?))
}
