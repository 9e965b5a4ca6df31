//! `ch02-setns`: the three calls, by hand.

use std::ffi::OsString;
use std::process::ExitCode;

use ch02_setns::{Choice, Namespaces, enter, hold, list, release, unshare};
use clap::{Args, Parser, Subcommand};
use common::state::Name;
use common::{Container, Exit, cli, output};

/// Chapter 2, the three calls: make namespaces, leave them, join somebody else's.
#[derive(Parser)]
#[command(name = "ch02-setns", after_help = common::after_help!("\
Try:
  ch02-setns list; ch02-setns list 1
  ch02-setns run --uts sh -c 'hostname box; echo $$; sleep 100'
  ch02-setns enter PID hostname          PID: the number it printed
  ch02-setns unshare --user --pid sh -c 'id -u; echo $$'
  ch02-setns hold mine PID --uts; ch02-setns enter mine hostname
"))]
struct Cli {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Show in which namespaces a process is [default: this one]
    List {
        /// The process; beside it, whether the namespace is yours too
        #[arg(value_name = "PID")]
        process: Option<u32>,
    },
    /// clone(2): run a program in new namespaces
    Run(Run),
    /// unshare(2): leave namespaces for new ones, and become a program
    Unshare(Words),
    /// setns(2): join a process' namespaces, and become a program
    Enter {
        /// The process, or a name that holds a namespace
        #[arg(value_name = "PID|NAME")]
        who: String,

        #[command(flatten)]
        words: Words,
    },
    /// Keep a process' namespace alive under a name, also when the process ends
    Hold {
        /// The name
        name: Name,

        /// The process
        #[arg(value_name = "PID")]
        process: u32,

        #[command(flatten)]
        choice: Choice,
    },
    /// Let go of a namespace that is held under a name
    Release {
        /// The name
        name: Name,
    },
}

#[derive(Args)]
struct Run {
    #[command(flatten)]
    choice: Choice,

    #[command(flatten)]
    run: cli::Run,
}

#[derive(Args)]
struct Words {
    #[command(flatten)]
    choice: Choice,

    /// The program and its arguments [default: sh]
    #[arg(trailing_var_arg = true)]
    command: Vec<OsString>,
}

fn main() -> ExitCode {
    cli::main(|Cli { action }| match action {
        Action::List { process } => {
            output::print(&list(process)?)?;
            Ok(Exit::Code(0))
        }
        Action::Run(flags) => Container::new(flags.run.plan()?)
            .part(flags.choice.user())
            .part(Namespaces(flags.choice.kinds()))
            .run(),
        Action::Unshare(words) => unshare(&words.choice.kinds(), &words.command),
        Action::Enter { who, words } => {
            enter(&who, words.choice.kinds(), &words.command)
        }
        Action::Hold { name, process, choice } => {
            hold(&name, process, &choice.kinds())?;
            Ok(Exit::Code(0))
        }
        Action::Release { name } => {
            release(&name)?;
            Ok(Exit::Code(0))
        }
    })
}
