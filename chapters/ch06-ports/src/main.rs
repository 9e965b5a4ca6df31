//! `ch06-ports run -net NETWORK -p 8080:80 IMAGE COMMAND`: publish a port of a
//! container.

use std::process::ExitCode;

use ch05_attach::Attach;
use ch05_env::Exec;
use ch05_rm::Commands;
use ch06_connect::commands::NetworkCommands;
use ch06_ports::{Port, Run, UNDO};
use clap::Parser;
use common::cli::{self, Context, Execute};

/// Chapter 6, ports: publish ports of a container on the host.
///
/// `run -p 8080:80` publishes port 80 of the container as port 8080 of the host.
/// `port` and `ps` show the published ports.
#[derive(Parser)]
#[command(name = "ch06-ports", after_help = common::after_help!("\
Try:
  ch06-ports network create one
  ch06-ports run -d -net one -p 8080:80 --name web busybox httpd -f -h /etc
  ch06-ports port web
  curl http://127.0.0.1:8080/hosts
  ch06-ports rm -f web; ch06-ports network remove one
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
        #[command(flatten)]
        Others(Commands),
    }
}

fn main() -> ExitCode {
    cli::main(|Cli { action }| action.execute(&Context::locate(UNDO)?))
}
