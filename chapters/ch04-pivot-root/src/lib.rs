//! A root file system of one's own: busybox as `/`, the kernel's file systems in
//! it, and the host's root out of reach.

#![forbid(unsafe_code)]

mod kernel;
mod pivot;
mod tree;

pub use kernel::KernelMounts;
pub use pivot::{Flags, PivotRoot, own_null};
pub use tree::{Tree, adopt};
