//! `ch07-system`: one tool for everyday use.

use std::process::ExitCode;

use ch06_ports::UNDO;
use ch07_system::{Commands, Options, command_line};
use clap::Parser;
use common::cli::{self, Context, Execute};

/// Chapter 7, system: one tool for everyday use.
#[derive(Parser)]
#[command(name = "ch07-system", after_help = common::after_help!("\
Try:
  ch07-system run -d --name web -p 8080:80 busybox httpd -f -p 80
  ch07-system inspect web
  ch07-system system df
  ch07-system --defaults bocker run busybox cat /proc/self/cgroup
"))]
struct Cli {
    #[command(flatten)]
    options: Options,

    #[command(subcommand)]
    action: Commands,
}

fn main() -> ExitCode {
    cli::main_with(command_line, |Cli { action, .. }| {
        action.execute(&Context::locate(UNDO)?)
    })
}
