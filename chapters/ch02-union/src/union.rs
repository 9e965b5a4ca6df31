//! What is merged, and where.

use std::path::PathBuf;

/// The directories of a union.
#[derive(Clone, Debug)]
pub struct Union {
    /// The trees that are only read, the topmost first.
    pub lower: Vec<PathBuf>,
    /// The tree above them all, which takes the writes.
    pub upper: PathBuf,
    /// The driver's own place, on the file system of `upper`.
    pub work: PathBuf,
    /// Whether `upper` goes with the union: overlayfs need not sync it then.
    pub volatile: bool,
    /// How the user has `upper` and `work` elsewhere, as hints say it.
    pub elsewhere: &'static str,
}
