//! `ch02-uts run`: a hostname that is visible only inside the container.

use std::process::ExitCode;

use ch02_user::User;
use ch02_uts::Uts;
use clap::{Args, Parser, Subcommand};
use common::{Container, cli};

/// Chapter 2, UTS namespace: change the container's hostname, but not the host's.
#[derive(Parser)]
#[command(name = "ch02-uts", after_help = common::after_help!("\
Try:
  ch02-uts run --hostname box hostname
  ch02-uts run sh -c 'hostname inside; hostname'; hostname
  ch02-uts run readlink /proc/self/ns/uts; readlink /proc/self/ns/uts
"))]
struct Cli {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Run a program with its own hostname
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
        Container::new(flags.run.plan()?)
            .part(User::if_needed())
            .part(Uts::new(flags.uts))
            .run()
        // ANCHOR_END: parts
    })
}
