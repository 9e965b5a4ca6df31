//! The commands up to this chapter that no later chapter replaces.

use ch04_image::{Images, Rmi};

use crate::{Commit, Export, Import};

common::commands! {
    /// The commands about images.
    #[derive(Debug)]
    pub enum Commands {
        /// Make an image, or a tar, of a container
        Commit(Commit),
        /// Write a container's filesystem as a tar
        Export(Export),
        /// Make an image of a tar or a directory
        Import(Import),
        /// List the images
        Images(Images),
        /// Remove images that no container uses
        Rmi(Rmi),
    }
}
