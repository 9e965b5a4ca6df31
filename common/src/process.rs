//! Creating a process: clone3(2), the channel to the child, execve(2), and the
//! parent's handle of the child.

mod bpf;
pub(crate) mod channel;
pub(crate) mod child;
pub(crate) mod clone;
pub(crate) mod environment;
pub mod exit;
pub(crate) mod guard;
pub mod id_map;
pub(crate) mod init;
pub(crate) mod pidfd;
pub(crate) mod poll;
pub(crate) mod program;
pub(crate) mod raw_ioctl;
pub mod rights;
pub(crate) mod safe_binary;
pub(crate) mod signals;
pub(crate) mod sys;
pub(crate) mod terminal_filter;
