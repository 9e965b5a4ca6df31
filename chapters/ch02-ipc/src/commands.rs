//! The commands for message queues, semaphore sets and shared memory.

use anyhow::Result;
use clap::Subcommand;
use common::cli::{Context, Execute};
use common::{Exit, output};

use crate::{Kind, list, make, remove};

/// Create, list and remove System V IPC objects and POSIX message queues
#[derive(Debug, Subcommand)]
pub enum Objects {
    /// Create an object and print its ID (POSIX queue: its name)
    Make {
        /// Kind of the object
        kind: Kind,
    },
    /// List all objects; POSIX queues only if /dev/mqueue is mounted
    ///
    /// The System V objects are those of this process's IPC namespace. The POSIX
    /// queues are those of the IPC namespace in which /dev/mqueue was mounted.
    List,
    /// Remove an object
    Remove {
        /// Kind of the object
        kind: Kind,
        /// ID of the object (POSIX queue: its name)
        id: String,
    },
}

impl Objects {
    /// Execute the command.
    ///
    /// # Errors
    /// The errors of [`make`], [`list`] and [`remove`], and of writing to stdout.
    pub fn run(self) -> Result<Exit> {
        match self {
            Objects::Make { kind } => output::print(&format!("{}\n", make(kind)?))?,
            Objects::List => output::print(&list()?)?,
            Objects::Remove { kind, id } => remove(kind, &id)?,
        }
        Ok(Exit::Code(0))
    }
}

impl Execute for Objects {
    fn execute(self, _context: &Context) -> Result<Exit> {
        self.run()
    }
}
