//! `ch02-setns`: use clone(2), unshare(2) and setns(2) by hand.

use std::process::ExitCode;

use ch02_setns::commands::NamespaceCommands;
use ch02_setns::{Choice, Namespaces};
use clap::{Args, Parser, Subcommand};
use common::{Container, cli};

/// Chapter 2, the three system calls: create, leave and join namespaces.
#[derive(Parser)]
#[command(name = "ch02-setns", after_help = common::after_help!("\
Try:
  ch02-setns list; ch02-setns list 1
  ch02-setns run --uts sh -c 'hostname box; echo $$; sleep 100'
  ch02-setns enter PID hostname          PID: the number it printed
  ch02-setns unshare --user --pid sh -c 'id -u; echo $$'
  ch02-setns hold mine PID --uts; ch02-setns enter mine hostname
"))]
struct Cli {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// clone(2): run a program in new namespaces
    Run(Run),
    #[command(flatten)]
    NamespaceCommands(NamespaceCommands),
}

#[derive(Args)]
struct Run {
    #[command(flatten)]
    choice: Choice,

    #[command(flatten)]
    run: cli::Run,
}

fn main() -> ExitCode {
    cli::main(|Cli { action }| match action {
        Action::Run(flags) => Container::new(flags.run.plan()?)
            .part(flags.choice.user())
            .part(Namespaces(flags.choice.kinds()))
            .run(),
        Action::NamespaceCommands(command) => command.run(),
    })
}
