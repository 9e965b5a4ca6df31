//! The command line of `commit`.

use anyhow::{Result, ensure};
use clap::Args;
use common::Exit;
use common::cli::slow::Slow;
use common::cli::{Context, Execute};
use common::images::Reference;

/// Create an image from a container
#[derive(Args, Debug)]
pub struct Commit {
    /// The container's name, its ID, or a unique ID prefix
    container: String,

    /// Fail if the name is already in use, instead of replacing the image
    #[arg(long)]
    no_replace: bool,

    /// The name of the new image, NAME[:TAG]
    #[arg(value_parser = name)]
    image: Reference,
}

/// Parse the name of a new image. It must not have a digest, because the digest is
/// not known yet.
///
/// # Errors
/// The name is invalid, or has a digest.
pub fn name(text: &str) -> Result<Reference> {
    let name: Reference = text.parse()?;
    ensure!(
        name.digest.is_none(),
        "the name of a new image must not contain a digest: the digest is \
         known only after the image is created"
    );
    Ok(name.with_default_tag())
}

impl Execute for Commit {
    fn execute(self, context: &Context) -> Result<Exit> {
        let Commit { container, image, no_replace } = self;
        let _slow = Slow::begin(&format!("commit {container}"));
        crate::commit(&context.state, &container, image, no_replace)?;
        Ok(Exit::Code(0))
    }
}
