//! The commands up to this chapter that no later chapter replaces.

use crate::Ends;

common::commands! {
    /// The commands about a container's end, and all that look.
    #[derive(Debug)]
    pub enum Commands {
        /// The commands about a container's end.
        #[command(flatten)]
        Ends(Ends),
        /// The commands of the earlier chapters.
        #[command(flatten)]
        Earlier(ch05_logs::Commands),
    }
}
