//! `ch02-ipc run`: no message queue of the host is seen.

use std::process::ExitCode;

use ch02_ipc::Ipc;
use ch02_ipc::commands::Objects;
use ch02_user::User;
use ch02_uts::Uts;
use clap::{Args, Parser, Subcommand};
use common::{Container, cli};

/// Chapter 2, IPC namespace: queues made outside do not exist inside.
#[derive(Parser)]
#[command(name = "ch02-ipc", after_help = common::after_help!("\
Try:
  ch02-ipc make queue; ch02-ipc list      a queue outside
  ch02-ipc run cat /proc/sysvipc/msg      none inside
  ch02-ipc remove queue ID                ID: the number that make printed
"))]
struct Cli {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Run a program with message queues of its own
    Run(Run),
    #[command(flatten)]
    Objects(Objects),
}

#[derive(Args)]
struct Run {
    #[command(flatten)]
    uts: ch02_uts::Flags,

    #[command(flatten)]
    run: cli::Run,
}

fn main() -> ExitCode {
    cli::main(|Cli { action }| match action {
        Action::Run(flags) => Container::new(flags.run.plan()?)
            .part(User::if_needed())
            .part(Uts::new(flags.uts))
            .part(Ipc)
            .run(),
        Action::Objects(command) => command.run(),
    })
}
