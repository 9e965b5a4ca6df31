//! `ch02-user run`: root inside, an ordinary user outside.

use std::process::ExitCode;

use ch02_user::{Map, User, has_range};
use clap::{Args, Parser, Subcommand};
use common::{Container, cli};

/// Chapter 2, user namespace: be root, and be nobody.
#[derive(Parser)]
#[command(name = "ch02-user", after_help = common::after_help!("\
Try:
  ch02-user run id                       uid 0 inside, whoever you are outside
  ch02-user run --unmapped id            65534: a namespace in which nobody exists
  ch02-user run cat /proc/self/uid_map   inside, outside, how many
"))]
struct Cli {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Run a program in a user namespace of its own
    Run(Run),
}

#[derive(Args)]
struct Run {
    /// Write no map: every user and group inside is 65534, "nobody"
    #[arg(long)]
    unmapped: bool,

    /// Map yourself only, though /etc/subuid gives you a range
    #[arg(long, conflicts_with = "unmapped")]
    single: bool,

    #[command(flatten)]
    run: cli::Run,
}

fn main() -> ExitCode {
    cli::main(|Cli { action: Action::Run(flags) }| {
        let map = if flags.unmapped {
            Map::Nobody
        } else if !flags.single && has_range() {
            Map::Range
        } else {
            Map::Root
        };
        Container::new(flags.run.plan()?).part(User::new(map)).run()
    })
}
