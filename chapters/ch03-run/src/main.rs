//! `ch03-run run -ti sh`: a container with all namespaces of chapter 2.

use std::process::ExitCode;

use ch02_user::User;
use ch03_run::{Proc, Terminal, walls};
use clap::{Args, Parser, Subcommand};
use common::{Container, cli};

/// Chapter 3, run: all namespaces of chapter 2, a /proc of the container, and a
/// terminal.
#[derive(Parser)]
#[command(name = "ch03-run", after_help = common::after_help!("\
Try:
  ch03-run run -ti sh                  then: ps, hostname, ip addr, exit
  ch03-run run ps                      one process, PID 1
  ch03-run run --trace true            trace each step of the start
"))]
struct Cli {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Run a program in its own namespaces
    Run(Run),
}

#[derive(Args)]
struct Run {
    #[command(flatten)]
    terminal: ch03_run::Flags,

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
            .part(walls(flags.uts))
            .part(Proc)
            .part(Terminal::new(&flags.terminal))
            .run()
        // ANCHOR_END: parts
    })
}
