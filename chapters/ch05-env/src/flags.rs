//! What `run` takes beside the earlier chapters' flags.

use std::path::PathBuf;

use anyhow::Result;
use ch05_detach::Log;
use clap::Args;
use common::state::State;
use common::{Exit, SafeBinary};

use crate::{AsUser, Attachable, Init, ReadOnly, Settings, Who};

/// Flags of the program's surroundings.
#[derive(Args, Clone, Debug, Default)]
#[group(skip)]
pub struct Flags {
    #[command(flatten)]
    pub(crate) variables: ch05_exec::Variables,

    /// A file of variables, KEY=VALUE a line; -e comes after it
    #[arg(long, value_name = "FILE")]
    pub(crate) env_file: Vec<PathBuf>,

    /// The working directory, made if it isn't there
    #[arg(short = 'w', long = "workdir", value_name = "DIR")]
    pub(crate) directory: Option<PathBuf>,

    /// As whom: names or numbers, by the container's /etc/passwd and /etc/group
    #[arg(short, long, value_name = "USER[:GROUP]")]
    pub(crate) user: Option<Who>,
}

/// What `run` takes from here on.
#[derive(Args, Debug)]
#[group(skip)]
pub struct Run {
    #[command(flatten)]
    streams: ch05_detach::Flags,

    #[command(flatten)]
    flags: Flags,

    /// Make the root read-only; volumes, /dev and /proc stay as they are
    #[arg(long)]
    read_only: bool,

    /// Put a small process 1 above the program, which forwards signals and reaps
    #[arg(long)]
    init: bool,

    #[command(flatten)]
    run: ch04_commit::Run,
}

impl Run {
    // ANCHOR: parts
    /// Do it.
    ///
    /// # Errors
    /// As [`ch05_detach::Run::act`].
    pub fn act(self, state: &State) -> Result<Exit> {
        // First of all: everything before it happens twice.
        let binary = self.init.then(SafeBinary::exec_self).transpose()?;
        let user = AsUser::new(self.flags.user.clone());
        let container = self
            .run
            .container(state)?
            .part(Settings::new(self.flags))
            .part(ReadOnly::new(self.read_only))
            .part(Init::new(binary));
        // -d goes with -t and -i from here on: somebody may attach.
        let log = Log::default();
        let container = self
            .streams
            .parts(container, log.clone())
            .part(Attachable::new(log, &self.streams))
            .part(user);
        self.streams.start(container)
    }
    // ANCHOR_END: parts
}
