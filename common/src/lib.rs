//! Creating a container's process, and the code that all chapters share.
//!
//! The kernel has no container object. There is a process, and a stack of parts
//! around it: a [`Part`] is one aspect of isolation, and a [`Container`] puts parts
//! around a program. The chapters define the parts. This crate creates the process,
//! and undoes what the parts did.
//!
//! | folder | content |
//! |---|---|
//! | `process` | creating a process: clone3(2), execve(2), pidfds, signals, exit status |
//! | `engine` | [`Part`], [`Plan`], [`Container`]: create, start, wait; the child's path to execve(2); the poll loop; detach |
//! | `state` | the state directory: IDs, names, locks, notes, records |
//! | `images` | images in an OCI image layout: names, records, layers |
//! | `archive` | reading and writing tar archives: extended headers, sparse files, layers |
//! | `cli` | command lines, `--trace`, hints |

pub mod archive;
pub mod cli;
pub mod engine;
pub mod guest;
#[cfg(test)]
mod hostile;
pub mod images;
pub mod process;
pub mod read_whole;
pub mod state;

pub use cli::{hints, output, step};
pub use engine::background::{finish_in_background, in_background};
pub use engine::byte_copy::{ByteCopy, ReadResult};
pub use engine::composite::Composite;
pub use engine::container::{Container, Created, Started};
pub use engine::part::{CloneArgs, Join, ParentLink, Part};
pub use engine::plan::{
    Credentials, Lifetime, OnParentDeath, OwnFile, Plan, Root, Seal, Session,
    StreamSource, Users,
};
pub use engine::poll_loop::{Running, Watch};
pub use engine::relay::OutputRelay;
pub use process::environment::{PATH, hint_of_callers_path, null};
pub use process::exit::{self, Exit};
pub use process::guard::Guard;
pub use process::id_map;
pub use process::init::stay_as_init;
pub use process::pidfd::{NotedProcess, Process, continue_stopped_parents};
pub use process::poll::poll;
pub use process::raw_ioctl::{RawCall, raw_ioctl};
pub use process::rights;
pub use process::safe_binary::SafeBinary;
pub use process::signals::Signals;
#[cfg(target_arch = "x86_64")]
pub use process::sys::write_port;
pub use process::sys::{
    SystemV, default_signal, ignore_signal, mount_read_only, one_mount_read_only,
    one_mount_writable, setdomainname,
};
pub use process::terminal_filter::install as deny_terminal_input;
pub use state::Home;
