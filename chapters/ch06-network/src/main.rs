//! `ch06-network network create NAME`: a bridge and its addresses.

use std::process::ExitCode;

use ch05_attach::{Attach, Run};
use ch05_env::Exec;
use ch05_rm::Commands;
use ch06_network::{NetworkCommands, UNDO};
use clap::Parser;
use common::cli::{self, Context, Execute};

/// Chapter 6, network: a bridge, a subnet, and the addresses of containers.
///
/// The next chapter connects containers to a network.
#[derive(Parser)]
#[command(name = "ch06-network", after_help = common::after_help!("\
Try:
  ch06-network network create --subnet 192.168.10.0/24 web
  ch06-network network create other              a free subnet is chosen
  ch06-network network list
  ch06-network network inspect web
  ch06-network network remove web other
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
        /// Create, show and remove networks
        #[command(subcommand)]
        Network(NetworkCommands),
        #[command(flatten)]
        Others(Commands),
    }
}

fn main() -> ExitCode {
    cli::main(|Cli { action }| action.execute(&Context::locate(UNDO)?))
}
