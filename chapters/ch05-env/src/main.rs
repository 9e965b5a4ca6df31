//! `ch05-env run -e K=V -u USER IMAGE COMMAND`: a program's surroundings.

use std::process::ExitCode;

use ch03_run::Terminal;
use ch04_commit::{Images, Store};
use ch05_env::Exec;
use clap::{Args, Parser, Subcommand};
use common::state::State;
use common::{Exit, cli};

/// Chapter 5, env: as whom, where, and in which environment a program runs.
///
/// The environment is the image's and what the flags say, never the caller's.
#[derive(Parser)]
#[command(name = "ch05-env", after_help = common::after_help!("\
Try:
  ch05-env run --rm -e WORD=hello busybox sh -c 'echo $WORD'
  ch05-env run --rm -u nobody busybox id
  ch05-env run --rm -w /srv/new busybox pwd
  ch05-env run --rm --read-only busybox touch /file       fails
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
    run: ch05_env::Run,
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
                // ANCHOR: parts
                let (container, user) = run.container(&state)?;
                return container.part(Terminal::new(&terminal)).part(user).run();
                // ANCHOR_END: parts
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
