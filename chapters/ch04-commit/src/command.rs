//! The command line of `commit`.

use anyhow::Result;
use clap::Args;
use common::Exit;
use common::cli::{Act, Context};
use common::state::Name;

/// Make an image of a container
#[derive(Args, Debug)]
pub struct Commit {
    /// The container's name, its ID, or a unique ID prefix
    container: String,

    /// The name of the new image; it replaces an image of that name
    image: Name,
}

impl Act for Commit {
    fn act(self, context: &Context) -> Result<Exit> {
        crate::commit(&context.state, &self.container, &self.image)?;
        Ok(Exit::Code(0))
    }
}
