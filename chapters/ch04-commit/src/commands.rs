//! The commands about images.

use std::io::Write;
use std::path::PathBuf;

use anyhow::Result;
use clap::{Args, Subcommand};
use common::cli;
use common::state::Name;
use common::state::State;

use crate::{ListFlags, Store};

/// The commands about images.
#[derive(Debug, Subcommand)]
pub enum Images {
    /// Make an image, or a tar, of a container
    Commit(Commit),
    /// Write a container's file system as a tar
    Export(Export),
    /// Make an image of a tar or a directory
    Import(Import),
    /// List the images
    Images(ListFlags),
    /// Remove images that no container uses
    Rmi(Rmi),
}

impl Images {
    /// Do it.
    ///
    /// # Errors
    /// Those of the functions with these names.
    pub fn act(self, state: &State) -> Result<()> {
        match self {
            Images::Commit(Commit { output: Some(file), container, .. }) => {
                crate::export(state, &container, &file)
            }
            Images::Commit(Commit { container, image, .. }) => {
                let image = image.expect("the command line asks for it");
                crate::commit(state, &container, &image).map(drop)
            }
            Images::Export(Export { output, container }) => {
                crate::export(state, &container, &output)
            }
            Images::Import(Import { from, image }) => {
                crate::import(state, &from, &image).map(drop)
            }
            Images::Images(flags) => {
                let text = crate::list(&Store::open(state)?, &flags)?;
                // A reader who went away has seen enough.
                let _ = std::io::stdout().write_all(text.as_bytes());
                Ok(())
            }
            Images::Rmi(Rmi { images }) => {
                let store = Store::open(state)?;
                cli::each(&images, |name| store.remove(name))
            }
        }
    }
}

/// Of which container, and what.
#[derive(Args, Debug)]
pub struct Commit {
    /// Write a tar instead, packed as its name ends: .tar, .tar.gz, .tar.zst
    ///
    /// "-" is standard output.
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,

    /// Its name, its id, or what only its id begins with
    container: String,

    /// The name of the new image; what had it before is forgotten
    #[arg(required_unless_present = "output", conflicts_with = "output")]
    image: Option<Name>,
}

/// Of which container, and where to.
#[derive(Args, Debug)]
pub struct Export {
    /// Packed as its name ends: .tar, .tar.gz, .tar.zst
    #[arg(short, long, value_name = "FILE", default_value = "-")]
    output: PathBuf,

    /// Its name, its id, or what only its id begins with
    container: String,
}

/// What, and as which image.
#[derive(Args, Debug)]
pub struct Import {
    /// A tar, also packed by gzip or zstd; a directory; "-" is standard input
    #[arg(value_name = "FILE|DIR|-")]
    from: PathBuf,

    /// The name of the new image; what had it before is forgotten
    image: Name,
}

/// Which images.
#[derive(Args, Debug)]
pub struct Rmi {
    /// Their names
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<String>,
}

/// Which containers.
#[derive(Args, Debug)]
#[group(skip)]
pub struct Rm {
    /// Their names, their ids, or what only those begin with
    #[arg(required = true, value_name = "CONTAINER")]
    pub containers: Vec<String>,
}

impl Rm {
    /// Remove them; all are tried.
    ///
    /// # Errors
    /// As [`Store::remove_container`].
    pub fn act(&self, state: &State) -> Result<()> {
        let store = Store::open(state)?;
        cli::each(&self.containers, |word| store.remove_container(word))
    }
}
