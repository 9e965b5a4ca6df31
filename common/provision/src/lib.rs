//! Gets busybox from the distribution's package manager and makes the image that the
//! chapters start from.
//!
//! This is not part of the engine: no chapter teaches it. The VM of the tests uses the
//! same package managers to get its kernels.

pub mod apt;
pub mod busybox;
pub mod command;
pub mod room;
