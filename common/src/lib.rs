//! What makes processes, and what all chapters share.
//!
//! There is no such thing as a container. There is a process, and a stack of parts
//! around it: [`Part`] is one wall, [`Container`] puts them around a program.
//! Chapters make the walls; this crate makes the process, and undoes what was done.

pub mod apt;
pub mod archive;
pub mod base64;
pub mod busybox;
pub mod cli;
pub mod command;
pub mod exit;
pub mod fields;
pub mod flags;
pub mod guest;
pub mod hints;
pub mod home;
#[cfg(test)]
mod hostile;
pub mod id;
pub mod image;
pub mod rights;
pub mod room;
pub mod small;
pub mod state;
pub mod step;

mod birth;
mod channel;
mod child;
mod container;
mod detach;
mod environment;
#[cfg(feature = "generate")]
mod generate;
mod guard;
mod init;
mod part;
mod process;
mod program;
mod running;
mod signals;
mod sys;

pub use container::{Container, Created, Started};
pub use environment::PATH;
pub use exit::Exit;
pub use guard::Guard;
pub use home::Home;
pub use init::stay_as_init;
pub use part::{Birth, Join, Part, Plan, Up};
pub use process::Process;
pub use running::{Running, Watch};
pub use signals::Signals;
#[cfg(target_arch = "x86_64")]
pub use sys::write_port;
pub use sys::{
    SystemV, default_signal, ignore_signal, mount_read_only, one_mount_read_only,
    setdomainname,
};
