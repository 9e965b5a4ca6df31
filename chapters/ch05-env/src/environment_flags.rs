//! All options that this chapter adds to `run`, and the parts that they become.

use clap::Args;
use common::Container;

use crate::flags::Flags;
use crate::{AsUser, ReadOnly, Settings};

/// The options for the program's environment, which `run` has from this chapter on.
#[derive(Args, Debug)]
#[group(skip)]
pub struct EnvironmentFlags {
    #[command(flatten)]
    flags: Flags,

    /// Mount the root filesystem read-only; volumes, /dev and /proc do not change
    #[arg(long)]
    read_only: bool,
}

impl EnvironmentFlags {
    // ANCHOR: parts
    /// Add the parts for these options. They come after the root filesystem.
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
