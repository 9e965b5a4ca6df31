//! `ch04-tar export CONTAINER`, `ch04-tar import FILE IMAGE`: tar archives.

use std::process::ExitCode;

use ch04_image::{Rm, RunAtTerminal, UNDO};
use ch04_tar::Commands;
use clap::Parser;
use common::cli::{self, Context, Execute};

/// Chapter 4, tar: export a container's filesystem, and import an image.
///
/// A tar archive may be compressed with gzip or zstd. import also reads a directory
/// or standard input.
#[derive(Parser)]
#[command(name = "ch04-tar", after_help = common::after_help!("\
Try:
  ch04-tar run --name one busybox sh -c 'echo hello > /greeting'
  ch04-tar export one | tar -t | head
  ch04-tar commit -o one.tar.gz one
  ch04-tar import one.tar.gz greeting
  ch04-tar run --rm greeting cat /greeting
  ch04-tar rm one; ch04-tar rmi greeting; ch04-tar images
"))]
struct Cli {
    #[command(subcommand)]
    action: Action,
}

common::commands! {
    enum Action {
        Run(Box<RunAtTerminal>),
        Rm(Rm),
        #[command(flatten)]
        Images(Commands),
    }
}

fn main() -> ExitCode {
    cli::main(|Cli { action }| action.execute(&Context::locate(UNDO)?))
}
