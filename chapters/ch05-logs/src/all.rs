//! The commands up to this chapter that no later chapter replaces.

use crate::Logs;

common::commands! {
    /// The commands that look, and the commands about images.
    #[derive(Debug)]
    pub enum Commands {
        /// Show what a container has printed
        Logs(Logs),
        /// The commands of the earlier chapters.
        #[command(flatten)]
        Earlier(ch05_ps::Commands),
    }
}
