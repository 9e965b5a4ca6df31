//! What `run` takes beside the earlier chapters' flags.

use std::path::PathBuf;

use clap::Args;
use common::Container;

use crate::{AsUser, ReadOnly, Settings, Who};

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

/// The program's surroundings: what `run` takes from here on.
#[derive(Args, Debug)]
#[group(skip)]
pub struct Surroundings {
    #[command(flatten)]
    flags: Flags,

    /// Make the root read-only; volumes, /dev and /proc stay as they are
    #[arg(long)]
    read_only: bool,
}

impl Surroundings {
    // ANCHOR: parts
    /// The container with these surroundings. They come after the root filesystem.
    #[must_use]
    pub fn parts(self, container: Container) -> Container {
        let user = AsUser::new(self.flags.user.clone());
        container
            .part(Settings::new(self.flags))
            .part(ReadOnly::new(self.read_only))
            .part(user)
    }
    // ANCHOR_END: parts
}
