//! `ch04-save save IMAGE`, `ch04-save load`: images as archives.

use std::process::ExitCode;

use ch04_image::{Rm, RunAtTerminal, UNDO};
use ch04_save::Commands;
use clap::Parser;
use common::cli::{self, Context, Execute};

/// Chapter 4, save: an image with all its layers as one file.
///
/// The file is an OCI image layout, which other programs read too. `load` also reads the
/// archives of `docker save`.
#[derive(Parser)]
#[command(name = "ch04-save", after_help = common::after_help!("\
Try:
  ch04-save tag busybox mine:1
  ch04-save save -o mine.tar mine:1
  ch04-save rmi mine:1; ch04-save load -i mine.tar
  ch04-save history mine:1
  ch04-save image inspect mine:1
  ch04-save rmi mine:1; ch04-save image prune
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
