//! The commands for networks up to this chapter.

mod connect;
mod default_route;
mod disconnect;
mod running;

pub use connect::Connect;
pub use disconnect::Disconnect;

common::commands! {
    /// Manage networks
    #[derive(Debug)]
    pub enum NetworkCommands {
        /// The commands of the previous chapter.
        #[command(flatten)]
        Networks(ch06_network::NetworkCommands),
        /// Connect a running container to a network
        ///
        /// The container gets one more device (eth1, ...). It gets a default route
        /// only if it has none.
        Connect(Connect),
        /// Disconnect a running container from a network
        ///
        /// If the container was started on this network, its published ports are
        /// released. If the default route was through this network, the container
        /// gets a default route through another of its networks.
        Disconnect(Disconnect),
    }
}
