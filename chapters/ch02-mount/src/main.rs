//! `ch02-mount run`: mounts that are not visible on the host.

use std::process::ExitCode;

use ch02_ipc::Ipc;
use ch02_mount::Mount;
use ch02_pid::Pid;
use ch02_user::User;
use ch02_uts::Uts;
use clap::{Args, Parser, Subcommand};
use common::{Container, cli};

/// Chapter 2, mount namespace: mounts made inside are not visible outside.
#[derive(Parser)]
#[command(name = "ch02-mount", after_help = common::after_help!("\
Try:
  ch02-mount run sh -c 'mount -t tmpfs none /mnt; mount | tail -1'
  ch02-mount run sh -c 'mount -t proc proc /proc; ps'
  mount | tail -1                             not in the host's mount table
"))]
struct Cli {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Run a program with its own mount table
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
            .part(Mount)
            .run()
    })
}
