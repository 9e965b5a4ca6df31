//! `ch05-env run -e K=V -u USER IMAGE COMMAND`: a program's environment and user.

use std::process::ExitCode;

use ch04_image::UNDO;
use ch05_env::{Exec, Run};
use ch05_rm::Commands;
use clap::Parser;
use common::cli::{self, Context, Execute};

/// Chapter 5, env: the environment, working directory and user of a program.
///
/// The environment comes from the image and the options, never from the caller.
#[derive(Parser)]
#[command(name = "ch05-env", after_help = common::after_help!("\
Try:
  ch05-env run --rm -e WORD=hello busybox sh -c 'echo $WORD'
  ch05-env run --rm -u nobody busybox id
  ch05-env run --rm -w /srv/new busybox pwd
  ch05-env run --rm --read-only busybox touch /file       fails
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
