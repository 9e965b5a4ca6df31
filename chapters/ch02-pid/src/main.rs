//! `ch02-pid run`: run a program as PID 1.

use std::process::ExitCode;

use ch02_ipc::Ipc;
use ch02_pid::Pid;
use ch02_user::User;
use ch02_uts::Uts;
use clap::{Args, Parser, Subcommand};
use common::{Container, cli};

/// Chapter 2, PID namespace: the first process is PID 1.
#[derive(Parser)]
#[command(name = "ch02-pid", after_help = common::after_help!("\
Try:
  ch02-pid run sh -c 'echo $$'           1 inside
  ch02-pid run sh -c 'sleep 60 & exit'     no process outlives PID 1
  ch02-pid run ps                        still the host's processes and /proc
"))]
struct Cli {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Run a program as PID 1
    Run(Run),
}

#[derive(Args)]
struct Run {
    #[command(flatten)]
    uts: ch02_uts::Flags,

    #[command(flatten)]
    run: cli::Run,
}

fn main() -> ExitCode {
    cli::main(|Cli { action: Action::Run(flags) }| {
        Container::new(flags.run.plan()?)
            .part(User::if_needed())
            .part(Uts::new(flags.uts))
            .part(Ipc)
            .part(Pid)
            .run()
    })
}
