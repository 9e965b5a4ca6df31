//! The commands up to this chapter that no later chapter replaces.

use ch04_image::{Images, Rmi};

use crate::{Commit, Export, Import};

common::commands! {
    /// The commands for images.
    #[derive(Debug)]
    pub enum Commands {
        /// Create an image or a tar archive from a container
        Commit(Commit),
        /// Write a container's filesystem to a tar archive
        Export(Export),
        /// Create an image from a tar archive or a directory
        Import(Import),
        /// List the images
        Images(Images),
        /// Remove images that no container uses
        Rmi(Rmi),
    }
}
