//! The commands for message queues, semaphores and shared memory.

use anyhow::Result;
use clap::Subcommand;
use common::cli::{Act, Context};
use common::{Exit, output};

use crate::{Kind, list, make, remove};

/// Make, list and remove objects of System V IPC, and POSIX message queues
#[derive(Debug, Subcommand)]
pub enum Objects {
    /// Make one, and print its id; of a POSIX queue its name
    Make {
        /// Which
        kind: Kind,
    },
    /// List them all; POSIX queues where /dev/mqueue is mounted
    ///
    /// System V's are those of this process' namespace, POSIX queues those of the
    /// namespace that /dev/mqueue was mounted in.
    List,
    /// Remove one
    Remove {
        /// Which kind
        kind: Kind,
        /// Its id; of a POSIX queue its name
        id: String,
    },
}

impl Objects {
    /// Execute it.
    ///
    /// # Errors
    /// As [`make`], [`list`] and [`remove`].
    pub fn run(self) -> Result<Exit> {
        match self {
            Objects::Make { kind } => output::print(&format!("{}\n", make(kind)?))?,
            Objects::List => output::print(&list()?)?,
            Objects::Remove { kind, id } => remove(kind, &id)?,
        }
        Ok(Exit::Code(0))
    }
}

impl Act for Objects {
    fn act(self, _context: &Context) -> Result<Exit> {
        self.run()
    }
}
