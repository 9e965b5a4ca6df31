//! The commands for networks up to this chapter.

mod connect;
mod disconnect;
mod running;

pub use connect::Connect;
pub use disconnect::Disconnect;

common::commands! {
    /// The commands of `network`.
    #[derive(Debug)]
    pub enum NetworkCommands {
        /// The commands of the chapter before.
        #[command(flatten)]
        Networks(ch06_network::NetworkCommands),
        /// Connect a running container to a network
        Connect(Connect),
        /// Disconnect a running container from a network
        Disconnect(Disconnect),
    }
}
