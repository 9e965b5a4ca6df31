//! `ch07-pull pull NAME`, `ch07-pull push NAME`: images from and to a registry.

use std::process::ExitCode;

use ch04_save::{History, Image, Load, Save, Tag};
use ch05_attach::Attach;
use ch05_env::Exec;
use ch05_rm::Commands;
use ch06_connect::commands::NetworkCommands;
use ch06_ports::{Port, UNDO};
use ch07_pull::{Pull, Push, Run};
use ch07_registry::{Login, Logout, ShowManifest};
use clap::Parser;
use common::cli::{self, Context, Execute};

/// Chapter 7, pull: download images from a registry, and upload them.
#[derive(Parser)]
#[command(name = "ch07-pull", after_help = common::after_help!("\
Try:
  ch07-pull pull localhost:5000/busybox
  ch07-pull run --rm localhost:5000/busybox echo hello
  ch07-pull tag busybox localhost:5000/mine:1
  ch07-pull push localhost:5000/mine:1
"))]
struct Cli {
    #[command(subcommand)]
    action: Action,
}

common::commands! {
    enum Action {
        Run(Box<Run>),
        Exec(Exec),
        Attach(Attach),
        Port(Port),
        /// Manage networks
        #[command(subcommand)]
        Network(NetworkCommands),
        Pull(Pull),
        Push(Push),
        Login(Login),
        Logout(Logout),
        Manifest(ShowManifest),
        Save(Save),
        Load(Load),
        Tag(Tag),
        History(History),
        Image(Image),
        #[command(flatten)]
        Others(Commands),
    }
}

fn main() -> ExitCode {
    cli::main(|Cli { action }| action.execute(&Context::locate(UNDO)?))
}
