//! `ch05-logs logs -f CONTAINER`: what a container prints.

use std::process::ExitCode;

use ch04_image::{Images, Rm, Rmi, UNDO};
use ch04_tar::{Commit, Export, Import};
use ch05_detach::Run;
use ch05_logs::Logs;
use ch05_ps::Ps;
use clap::Parser;
use common::cli::{self, Act, Context};

/// Chapter 5, logs: what a container has printed.
///
/// Standard output comes on standard output, standard error on standard error, in the
/// order in which they were read. It is kept until `rm`.
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
        Ps(Ps),
        Logs(Logs),
        Commit(Commit),
        Export(Export),
        Import(Import),
        Images(Images),
        Rmi(Rmi),
        Rm(Rm),
    }
}

fn main() -> ExitCode {
    cli::main(|Cli { action }| action.act(&Context::locate(UNDO)?))
}
