//! The commands up to this chapter that no later chapter replaces.

use crate::Logs;

common::commands! {
    /// The commands that show containers, and the commands for images.
    #[derive(Debug)]
    pub enum Commands {
        /// Show the output of a container
        Logs(Logs),
        /// The commands of the earlier chapters.
        #[command(flatten)]
        Earlier(ch05_ps::Commands),
    }
}
