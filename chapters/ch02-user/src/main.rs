//! `ch02-user run`: root inside, an ordinary user outside.

use std::process::ExitCode;

use ch02_user::{Map, User, has_range};
use clap::{Args, Parser, Subcommand};
use common::{Container, cli};

/// Chapter 2, user namespace: root inside, an ordinary user outside.
#[derive(Parser)]
#[command(name = "ch02-user", after_help = common::after_help!("\
Try:
  ch02-user run id                       UID 0 inside, your own UID outside
  ch02-user run --unmapped id            65534: no ID is mapped
  ch02-user run cat /proc/self/uid_map   ID inside, ID outside, count
"))]
struct Cli {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Run a program in a new user namespace
    Run(Run),
}

#[derive(Args)]
struct Run {
    /// Write no map: every user and group inside is 65534, "nobody"
    #[arg(long)]
    unmapped: bool,

    /// Map only your own ID, even if /etc/subuid assigns a range to you
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
