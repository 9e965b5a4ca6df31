//! Gets busybox from the distribution's package manager and creates the image that
//! the chapters use.
//!
//! This is not part of the engine, and no chapter explains it. The VM of the tests
//! gets its kernels from the same package managers.

pub mod apt;
pub mod busybox;
pub mod command;
pub mod room;
