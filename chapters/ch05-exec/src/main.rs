//! `ch05-exec exec CONTAINER COMMAND`: a second program in a container that runs.

use std::process::ExitCode;

use ch03_run::Terminal;
use ch04_commit::{Images, Store};
use ch05_exec::Exec;
use clap::{Args, Parser, Subcommand};
use common::state::State;
use common::{Exit, cli};

/// Chapter 5, exec: a second program in a container that runs.
///
/// It has what the container's own program has: namespaces, cgroup, root, environment,
/// working directory.
#[derive(Parser)]
#[command(name = "ch05-exec", after_help = common::after_help!("\
Try:
  ch05-exec run --name one busybox sleep 1000     and at another terminal:
  ch05-exec exec -ti one sh                       then: ps, hostname, exit
  ch05-exec exec -e WORD=hello one sh -c 'echo $WORD $HOSTNAME'
  ch05-exec exec --trace one true                 each step of joining
"))]
struct Cli {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Run a program in a container of an image
    Run(Box<Run>),
    /// Run another program in a container that runs
    Exec(Exec),
    #[command(flatten)]
    Images(Images),
    /// Remove containers that have ended
    Rm(Rm),
}

#[derive(Args)]
struct Run {
    #[command(flatten)]
    terminal: ch03_run::Flags,

    #[command(flatten)]
    run: ch04_commit::Run,
}

#[derive(Args)]
struct Rm {
    /// Their names, their ids, or what only those begin with
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

fn main() -> ExitCode {
    cli::main(|Cli { action }| {
        let state = State::locate()?;
        match action {
            Action::Run(flags) => {
                let Run { terminal, run } = *flags;
                return run.container(&state)?.part(Terminal::new(&terminal)).run();
            }
            Action::Exec(exec) => return exec.act(&state),
            Action::Images(action) => action.act(&state)?,
            Action::Rm(Rm { containers }) => {
                let store = Store::open(&state)?;
                cli::each(&containers, |word| store.remove_container(word))?;
            }
        }
        Ok(Exit::Code(0))
    })
}
