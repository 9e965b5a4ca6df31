//! `ch02-ipc run`: no message queue of the host is seen.

use std::process::ExitCode;

use anyhow::Result;
use ch02_ipc::{Ipc, Kind, list, make, remove};
use ch02_user::User;
use ch02_uts::Uts;
use clap::{Args, Parser, Subcommand};
use common::{Container, Exit, cli, output};

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
    /// Make one, and print its id; of a POSIX queue its name
    Make {
        /// Which
        kind: Kind,
    },
    /// List them all; POSIX queues where /dev/mqueue is mounted
    ///
    /// System V's are those of this process' namespace, POSIX queues those of the
    /// namespace that /dev/mqueue was mounted in.
    List,
    /// Remove one
    Remove {
        /// Which kind
        kind: Kind,
        /// Its id; of a POSIX queue its name
        id: String,
    },
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
        Action::Make { kind } => print(&format!("{}\n", make(kind)?)),
        Action::List => print(&list()?),
        Action::Remove { kind, id } => {
            remove(kind, &id)?;
            Ok(Exit::Code(0))
        }
    })
}

fn print(text: &str) -> Result<Exit> {
    output::print(text)?;
    Ok(Exit::Code(0))
}
