//! `ch06-connect run -net NETWORK IMAGE COMMAND`: connect a container to a network.

use std::process::ExitCode;

use ch05_attach::Attach;
use ch05_env::Exec;
use ch05_rm::Commands;
use ch06_connect::commands::NetworkCommands;
use ch06_connect::{Run, UNDO};
use clap::Parser;
use common::cli::{self, Context, Execute};

/// Chapter 6, connect: a container on a network.
///
/// `run -net NETWORK` gives a container a network device, an address, and the names
/// of the other containers on the network.
#[derive(Parser)]
#[command(name = "ch06-connect", after_help = common::after_help!("\
Try:
  ch06-connect network create one
  ch06-connect run -d -net one --name web busybox httpd -f -h /etc
  ch06-connect run --rm -net one busybox wget -q -O - http://web/hosts
  ch06-connect rm -f web; ch06-connect network remove one
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
        /// Manage networks
        #[command(subcommand)]
        Network(NetworkCommands),
        #[command(flatten)]
        Others(Commands),
    }
}

fn main() -> ExitCode {
    cli::main(|Cli { action }| action.execute(&Context::locate(UNDO)?))
}
