//! `ch05-rm rm`: what is left of a container, removed.

use std::process::ExitCode;

use ch04_image::{Images, Rmi, UNDO};
use ch04_tar::{Commit, Export, Import};
use ch05_detach::Run;
use ch05_exec::Exec;
use ch05_logs::Logs;
use ch05_ps::Ps;
use ch05_rm::Removal;
use ch05_stop::Ends;
use clap::Parser;
use common::cli::{self, Act, Context};

/// Chapter 5, rm: what is left of a container.
///
/// `rm` removes what one container has, also when its host side was killed; `prune`
/// does so with all that nobody holds.
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
        Ps(Ps),
        Logs(Logs),
        #[command(flatten)]
        Ends(Ends),
        Commit(Commit),
        Export(Export),
        Import(Import),
        Images(Images),
        Rmi(Rmi),
        #[command(flatten)]
        Removal(Removal),
    }
}

fn main() -> ExitCode {
    cli::main(|Cli { action }| action.act(&Context::locate(UNDO)?))
}
