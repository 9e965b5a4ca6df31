//! `rm` and `rmi`: remove containers that have ended, and images.

use anyhow::Result;
use clap::Args;
use common::Exit;
use common::cli::{self, Context, Execute};
use common::state::FoundContainer;

use crate::Store;

/// Remove images that no container uses
///
/// If an image has several tags, only the given tag is removed.
#[derive(Args, Debug)]
pub struct Rmi {
    /// Remove all names of the image, even if it has several or a container uses it
    ///
    /// A container that uses the image keeps its layers until the container is removed.
    #[arg(short, long)]
    force: bool,

    /// The names of the images, their IDs, or unique ID prefixes
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<String>,
}

impl Execute for Rmi {
    fn execute(self, context: &Context) -> Result<Exit> {
        let store = Store::open(&context.state)?;
        cli::each(&self.images, |name| {
            store.remove(name, self.force, context.undo)
        })?;
        Ok(Exit::Code(0))
    }
}

/// Remove containers that have ended
#[derive(Args, Debug)]
#[group(skip)]
pub struct Rm {
    /// The names of the containers, their IDs, or unique ID prefixes
    #[arg(required = true, value_name = "CONTAINER")]
    pub containers: Vec<String>,
}

impl Execute for Rm {
    fn execute(self, context: &Context) -> Result<Exit> {
        let Context { state, undo } = context;
        let store = Store::open(state)?;
        cli::each(&self.containers, |word| {
            if let Ok(name) = word.parse()
                && state.remove_stale(&name)?
            {
                return Ok(());
            }
            let found = FoundContainer::find(state, word)?;
            found.home.remove(found.display_name(), undo)?;
            store.lock_and_sweep()
        })?;
        state.sweep_dead(undo)?;
        Ok(Exit::Code(0))
    }
}
