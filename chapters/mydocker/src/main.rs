//! `mydocker`: every command of every chapter in one binary.

use std::process::ExitCode;

use ch06_ports::UNDO;
use ch07_system::{Commands, Options, command_line};
use clap::Parser;
use common::cli::{self, Context, Execute};

// ANCHOR: main
/// Containers, built step by step: every command of the book "Write your own Docker, in
/// Rust".
#[derive(Parser)]
#[command(name = "mydocker", version, after_help = common::after_help!("\
Try:
  mydocker run -it --rm busybox sh
  mydocker run -d --name web -p 8080:80 -v /srv/www:/www busybox httpd -f -h /www
  mydocker ps; mydocker logs web; mydocker exec web ps; mydocker rm -f web
  mydocker pull localhost:5000/debian; mydocker image ls
  mydocker system df
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
// ANCHOR_END: main
