//! Publish ports of a container on the host: the option `-p`, the sockets that
//! reserve the ports, and the command `port`.

#![forbid(unsafe_code)]

mod holder;
mod port;
mod ports;
mod proxy;
mod publish;
mod reserve;
mod run;

pub use ch06_connect::UNDO;
pub use port::{GuestPort, Port};
pub use ports::Ports;
pub use publish::{Flags, Publish};
pub use reserve::Reservation;
pub use run::Run;
