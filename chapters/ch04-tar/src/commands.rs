//! The command lines of `commit`, `export` and `import`.

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use clap::Args;
use common::Exit;
use common::cli::slow::Slow;
use common::cli::{Context, Execute};
use common::images::Reference;

/// Create an image or a tar archive from a container
#[derive(Args, Debug)]
pub struct Commit {
    /// Write a tar archive instead of an image; the extension selects the
    /// compression: .tar, .tar.gz, .tar.zst
    ///
    /// "-" is standard output.
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,

    /// The container's name, its ID, or a unique ID prefix
    container: String,

    /// Fail if the name is already in use, instead of replacing the image
    #[arg(long)]
    no_replace: bool,

    /// The name of the new image, NAME[:TAG]
    #[arg(
        required_unless_present = "output",
        conflicts_with = "output",
        value_parser = ch04_commit::name
    )]
    image: Option<Reference>,
}

impl Execute for Commit {
    fn execute(self, context: &Context) -> Result<Exit> {
        let state = &context.state;
        let _slow = Slow::begin(&format!("commit {}", self.container));
        match self.output {
            Some(file) => crate::export(state, &self.container, &file)?,
            None => {
                let image = self.image.context("no image name")?;
                let no_replace = self.no_replace;
                ch04_commit::commit(state, &self.container, image, no_replace)?;
            }
        }
        Ok(Exit::Code(0))
    }
}

/// Write a container's filesystem to a tar archive
#[derive(Args, Debug)]
pub struct Export {
    /// Output file; the extension selects the compression: .tar, .tar.gz, .tar.zst
    #[arg(short, long, value_name = "FILE", default_value = "-")]
    output: PathBuf,

    /// The container's name, its ID, or a unique ID prefix
    container: String,
}

impl Execute for Export {
    fn execute(self, context: &Context) -> Result<Exit> {
        let _slow = Slow::begin(&format!("export {}", self.container));
        crate::export(&context.state, &self.container, &self.output)?;
        Ok(Exit::Code(0))
    }
}

/// Create an image from a tar archive or a directory
#[derive(Args, Debug)]
pub struct Import {
    /// Tar archive (also compressed with gzip or zstd), directory, or "-" for
    /// standard input
    #[arg(value_name = "FILE|DIR|-")]
    from: PathBuf,

    /// Name of the new image, NAME[:TAG]; an existing image with this name is
    /// replaced
    #[arg(value_parser = ch04_commit::name)]
    image: Reference,
}

impl Execute for Import {
    fn execute(self, context: &Context) -> Result<Exit> {
        let _slow = Slow::begin(&format!("import {}", self.from.display()));
        crate::import(&context.state, &self.from, self.image)?;
        Ok(Exit::Code(0))
    }
}
