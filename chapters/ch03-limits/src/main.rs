//! `ch03-limits run -ti -m 100m sh`: a container with all namespaces of chapter 2,
//! and limits.

use std::process::ExitCode;

use ch02_user::User;
use ch03_limits::Limits;
use ch03_run::{Proc, Terminal, walls};
use clap::{Args, Parser, Subcommand};
use common::{Container, cli};

/// Chapter 3, limits: limit a container's memory, CPU time, processes and disk
/// traffic.
#[derive(Parser)]
#[command(name = "ch03-limits", after_help = common::after_help!("\
Try:
  ch03-limits run -m 20m tail /dev/zero                      killed: 137
  ch03-limits run -pids 5 sh -c 'for i in 1 2 3 4 5 6; do sleep 1 & done'
  ch03-limits run -cpuset 0 grep Cpus_allowed_list /proc/self/status
"))]
struct Cli {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Run a program in its own namespaces, with limits
    Run(Run),
}

#[derive(Args)]
struct Run {
    #[command(flatten)]
    terminal: ch03_run::Flags,

    #[command(flatten)]
    limits: ch03_limits::Flags,

    #[command(flatten)]
    uts: ch02_uts::Flags,

    #[command(flatten)]
    run: cli::Run,
}

fn main() -> ExitCode {
    cli::main(|Cli { action: Action::Run(flags) }| {
        // ANCHOR: parts
        Container::new(flags.run.plan()?)
            .keep(None, &[ch03_limits::UNDO])
            .part(User::if_needed())
            .part(Limits::new(flags.limits))
            .part(walls(flags.uts))
            .part(Proc)
            .part(Terminal::new(&flags.terminal))
            .run()
        // ANCHOR_END: parts
    })
}
