//! The commands up to this chapter that no later chapter replaces.

use crate::RemoveCommands;

common::commands! {
    /// The commands that remove containers, and all earlier commands.
    #[derive(Debug)]
    pub enum Commands {
        /// The commands that remove containers.
        #[command(flatten)]
        RemoveCommands(RemoveCommands),
        /// The commands of the earlier chapters.
        #[command(flatten)]
        Earlier(ch05_stop::Commands),
    }
}
