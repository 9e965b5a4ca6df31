//! `ch05-exec exec CONTAINER COMMAND`: a second program in a running container.

use std::process::ExitCode;

use ch04_image::{Rm, UNDO};
use ch05_detach::Run;
use ch05_exec::Exec;
use ch05_logs::Commands;
use clap::Parser;
use common::cli::{self, Context, Execute};

/// Chapter 5, exec: a second program in a running container.
///
/// It shares the namespaces, cgroup, root filesystem, environment and working
/// directory of the container's own program.
#[derive(Parser)]
#[command(name = "ch05-exec", after_help = common::after_help!("\
Try:
  ch05-exec run --name one busybox sleep 1000     then, in another terminal:
  ch05-exec exec -ti one sh                       then: ps, hostname, exit
  ch05-exec exec -e WORD=hello one sh -c 'echo $WORD $HOSTNAME'
  ch05-exec exec --trace one true                 trace each step of joining
"))]
struct Cli {
    #[command(subcommand)]
    action: Action,
}

common::commands! {
    enum Action {
        Run(Box<Run>),
        Exec(Exec),
        Rm(Rm),
        #[command(flatten)]
        Others(Commands),
    }
}

fn main() -> ExitCode {
    cli::main(|Cli { action }| action.execute(&Context::locate(UNDO)?))
}
