//! The commands up to this chapter that no later chapter replaces.

use crate::StopCommands;

common::commands! {
    /// The commands that end containers, and all earlier commands.
    #[derive(Debug)]
    pub enum Commands {
        /// The commands that end containers or wait for their end.
        #[command(flatten)]
        StopCommands(StopCommands),
        /// The commands of the earlier chapters.
        #[command(flatten)]
        Earlier(ch05_logs::Commands),
    }
}
