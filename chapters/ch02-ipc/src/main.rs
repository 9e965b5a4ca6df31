//! `ch02-ipc run`: no message queue of the host is seen.

use std::process::ExitCode;

use ch02_ipc::Ipc;
use ch02_user::User;
use ch02_uts::Uts;
use clap::{Args, Parser, Subcommand};
use common::{Container, cli};

/// Chapter 2, IPC namespace: queues made outside do not exist inside.
#[derive(Parser)]
#[command(name = "ch02-ipc", after_help = common::after_help!("\
Try:
  ipcmk -Q; ipcs -q                   a queue outside
  ch02-ipc run ipcs -q                none inside
  ch02-ipc run cat /proc/sysvipc/msg  the same without ipcs
"))]
struct Cli {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Run a program with message queues of its own
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
        // ANCHOR: parts
        Container::new(flags.run)?
            .part(User::if_needed())
            .part(Uts::new(flags.uts))
            .part(Ipc)
            .run()
        // ANCHOR_END: parts
    })
}
