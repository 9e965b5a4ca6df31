//! `ch05-rm rm`: remove containers that have ended.

use std::process::ExitCode;

use ch04_image::UNDO;
use ch05_detach::Run;
use ch05_exec::Exec;
use ch05_rm::Commands;
use clap::Parser;
use common::cli::{self, Context, Execute};

/// Chapter 5, rm: remove containers that have ended.
///
/// `rm` removes everything that belongs to a container, even if its supervisor was
/// killed. `prune` removes all containers that have ended.
#[derive(Parser)]
#[command(name = "ch05-rm", after_help = common::after_help!("\
Try:
  ch05-rm run --name one busybox sleep 60 &
  ch05-rm rm one
  ch05-rm rm -f one
  ch05-rm run busybox true; ch05-rm run busybox false
  ch05-rm prune; ch05-rm ps -a
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
