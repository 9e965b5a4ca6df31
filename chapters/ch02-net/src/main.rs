//! `ch02-net run`: a network without a way out.

use std::process::ExitCode;

use ch02_ipc::Ipc;
use ch02_mount::Mount;
use ch02_net::Net;
use ch02_pid::Pid;
use ch02_user::User;
use ch02_uts::Uts;
use clap::{Args, Parser, Subcommand};
use common::{Container, cli};

/// Chapter 2, network namespace: nothing but lo, and that is down.
#[derive(Parser)]
#[command(name = "ch02-net", after_help = common::after_help!("\
Try:
  ch02-net run cat /proc/net/dev
  ch02-net run ping -c 1 127.0.0.1
"))]
struct Cli {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Run a program with a network of its own
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
            .part(Pid)
            .part(Mount)
            .part(Net)
            .run()
        // ANCHOR_END: parts
    })
}
