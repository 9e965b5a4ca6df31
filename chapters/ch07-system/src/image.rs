//! `image`: the commands about images, as a group.

use ch04_tar::Import;
use ch07_pull::{Pull, Push};

common::commands! {
    /// Manage images
    #[derive(Debug)]
    pub enum ImageCommands {
        /// The commands of the earlier chapter.
        #[command(flatten)]
        Earlier(ch04_save::ImageCommands),
        /// Download an image from a registry
        Pull(Pull),
        /// Upload an image to a registry
        Push(Push),
        /// Make an image of a tar or a directory
        Import(Import),
    }
}
