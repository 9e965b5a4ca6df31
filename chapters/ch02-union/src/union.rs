//! The directories that a driver merges.

use std::path::PathBuf;

/// The directories of a union.
#[derive(Clone, Debug)]
pub struct Union {
    /// The read-only trees, topmost first.
    pub lower: Vec<PathBuf>,
    /// The tree on top, which receives all writes.
    pub upper: PathBuf,
    /// The driver's work directory, on the filesystem of `upper`.
    pub work: PathBuf,
    /// Whether `upper` is removed together with the union. Then overlayfs need not
    /// sync it.
    pub volatile: bool,
    /// For hints: how the user moves `upper` and `work` to another filesystem.
    pub elsewhere: &'static str,
}
