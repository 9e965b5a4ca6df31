//! `ch02-cgroups`: groups by hand.

use std::process::ExitCode;

use ch02_cgroups::Commands;
use clap::Parser;
use common::cli;

/// Chapter 2, cgroups: limit, weigh, count and freeze a set of processes.
#[derive(Parser)]
#[command(name = "ch02-cgroups", after_help = common::after_help!("\
Try:
  ch02-cgroups list; ch02-cgroups show --explain
  ch02-cgroups create demo --controllers memory,pids
  ch02-cgroups set demo memory.max=20m                  v1: memory.limit_in_bytes
  ch02-cgroups exec demo tail /dev/zero                 killed: 137
  ch02-cgroups stats demo; ch02-cgroups delete demo
"))]
struct Cli {
    #[command(subcommand)]
    command: Commands,
}

fn main() -> ExitCode {
    cli::main(|Cli { command }| command.run())
}
