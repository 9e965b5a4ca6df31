//! The commands that make, leave, join and hold namespaces.

use std::ffi::OsString;

use anyhow::Result;
use clap::{Args, Subcommand};
use common::cli::{Act, Context};
use common::state::Name;
use common::{Exit, output};

use crate::{Choice, enter, hold, list, release, unshare};

/// Make, leave, join and hold namespaces
#[derive(Debug, Subcommand)]
pub enum ByHand {
    /// Show in which namespaces a process is [default: this one]
    List {
        /// The process; beside it, whether the namespace is yours too
        #[arg(value_name = "PID")]
        process: Option<u32>,
    },
    /// unshare(2): leave namespaces for new ones, and become a program
    Unshare(Words),
    /// setns(2): join a process' namespaces, and become a program
    Enter {
        /// The process, or a name that holds a namespace
        #[arg(value_name = "PID|NAME")]
        who: String,

        /// The namespaces, and the program.
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

        /// The namespaces.
        #[command(flatten)]
        choice: Choice,
    },
    /// Let go of a namespace that is held under a name
    Release {
        /// The name
        name: Name,
    },
}

/// A choice of namespaces, and a program.
#[derive(Args, Debug)]
pub struct Words {
    #[command(flatten)]
    choice: Choice,

    /// The program and its arguments [default: sh]
    #[arg(trailing_var_arg = true)]
    command: Vec<OsString>,
}

impl ByHand {
    /// Execute it.
    ///
    /// # Errors
    /// As [`list`], [`unshare`](fn@unshare), [`enter`](fn@enter), [`hold`](fn@hold) and
    /// [`release`].
    pub fn run(self) -> Result<Exit> {
        match self {
            ByHand::List { process } => {
                output::print(&list(process)?)?;
                Ok(Exit::Code(0))
            }
            ByHand::Unshare(words) => unshare(&words.choice.kinds(), &words.command),
            ByHand::Enter { who, words } => {
                enter(&who, words.choice.kinds(), &words.command)
            }
            ByHand::Hold { name, process, choice } => {
                hold(&name, process, &choice.kinds())?;
                Ok(Exit::Code(0))
            }
            ByHand::Release { name } => {
                release(&name)?;
                Ok(Exit::Code(0))
            }
        }
    }
}

impl Act for ByHand {
    fn act(self, _context: &Context) -> Result<Exit> {
        self.run()
    }
}
