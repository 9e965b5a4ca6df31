//! `ch05-init run --init IMAGE COMMAND`: a small init process as PID 1.

use std::process::ExitCode;

use ch04_image::UNDO;
use ch05_env::Exec;
use ch05_init::Run;
use ch05_rm::Commands;
use clap::Parser;
use common::cli::{self, Context, Execute};

/// Chapter 5, init: a small init process as PID 1.
///
/// It forwards signals to the program, reaps orphans, and ends with the program's
/// exit status.
#[derive(Parser)]
#[command(name = "ch05-init", after_help = common::after_help!("\
Try:
  ch05-init run --rm --init busybox ps
  ch05-init run -d --init --name one busybox sleep 1000
  ch05-init stop one; ch05-init wait one; ch05-init rm one
"))]
struct Cli {
    #[command(subcommand)]
    action: Action,
}

common::commands! {
    enum Action {
        Run(Box<Run>),
        Exec(Exec),
        #[command(flatten)]
        Others(Commands),
    }
}

fn main() -> ExitCode {
    cli::main(|Cli { action }| action.execute(&Context::locate(UNDO)?))
}
