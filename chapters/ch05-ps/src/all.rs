//! The commands up to this chapter that no later chapter replaces.

use crate::Ps;

common::commands! {
    /// The list of containers, and the commands for images.
    #[derive(Debug)]
    pub enum Commands {
        /// List running containers
        Ps(Ps),
        /// The commands of the earlier chapters.
        #[command(flatten)]
        Images(ch04_tar::Commands),
    }
}
