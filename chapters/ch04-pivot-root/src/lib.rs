//! The container's own root filesystem: busybox as `/`, with the kernel's filesystems,
//! and without access to the host's root.

#![forbid(unsafe_code)]

mod kernel;
mod pivot;
mod tree;

pub use kernel::KernelMounts;
pub use pivot::{Flags, PivotRoot, own_null};
pub use tree::{Tree, set_root};
