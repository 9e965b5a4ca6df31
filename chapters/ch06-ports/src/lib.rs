//! Ports of the host that lead into a container: what `-p` says, the sockets that
//! reserve the ports, and the command `port`.

#![forbid(unsafe_code)]

mod holder;
mod port;
mod publish;
mod reserve;

pub use common::state::{Protocol, Published};
pub use port::{GuestPort, Port};
pub use publish::{Flags, Publish};
pub use reserve::Reservation;
