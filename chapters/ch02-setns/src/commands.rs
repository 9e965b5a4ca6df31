//! The commands that create, leave, join and hold namespaces.

use std::ffi::OsString;

use anyhow::Result;
use clap::{Args, Subcommand};
use common::cli::{Context, Execute};
use common::state::Name;
use common::{Exit, output};

use crate::hold::{self, hold};
use crate::{Choice, enter, list, release, unshare};

/// Create, leave, join and hold namespaces
#[derive(Debug, Subcommand)]
pub enum NamespaceCommands {
    /// Show the namespaces of a process [default: this one], or those that are held
    List {
        /// Process ID; adds a column that shows whether the namespace is also yours
        #[arg(value_name = "PID")]
        process: Option<u32>,

        /// Show the held namespaces: name, kind and number
        #[arg(long, conflicts_with = "process")]
        held: bool,
    },
    /// unshare(2): move to new namespaces and execute a program
    Unshare(KindsAndCommand),
    /// setns(2): join the namespaces of a process and execute a program
    Enter {
        /// Process ID, the name of a held namespace, or the path of a namespace's file,
        /// such as /proc/1/ns/net
        #[arg(value_name = "PID|NAME|PATH")]
        target: String,

        /// The namespaces and the program.
        #[command(flatten)]
        words: KindsAndCommand,
    },
    /// Keep a namespace of a process, or a new one, under a name, without a process
    Hold {
        /// The name
        name: Name,

        /// Process ID [default: create a new namespace]
        #[arg(value_name = "PID")]
        process: Option<u32>,

        /// The namespaces.
        #[command(flatten)]
        choice: Choice,
    },
    /// Release a held namespace
    Release {
        /// The name
        name: Name,
    },
}

/// Kinds of namespaces, and a program.
#[derive(Args, Debug)]
pub struct KindsAndCommand {
    #[command(flatten)]
    choice: Choice,

    /// The program and its arguments [default: sh]
    #[arg(trailing_var_arg = true)]
    command: Vec<OsString>,
}

impl NamespaceCommands {
    /// Execute the command.
    ///
    /// # Errors
    /// The errors of [`list`], [`unshare`](fn@unshare), [`enter`](fn@enter),
    /// [`hold`](fn@hold) and [`release`], and of writing to stdout.
    pub fn run(self) -> Result<Exit> {
        match self {
            NamespaceCommands::List { process, held } => {
                let table = if held { hold::held()? } else { list(process)? };
                output::print(&table)?;
                Ok(Exit::Code(0))
            }
            NamespaceCommands::Unshare(words) => {
                unshare(&words.choice.kinds(), &words.command)
            }
            NamespaceCommands::Enter { target, words } => {
                enter(&target, words.choice.kinds(), &words.command)
            }
            NamespaceCommands::Hold { name, process, choice } => {
                hold(&name, process, &choice.kinds())?;
                Ok(Exit::Code(0))
            }
            NamespaceCommands::Release { name } => {
                release(&name)?;
                Ok(Exit::Code(0))
            }
        }
    }
}

impl Execute for NamespaceCommands {
    fn execute(self, _context: &Context) -> Result<Exit> {
        self.run()
    }
}
