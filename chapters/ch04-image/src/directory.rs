//! The names of files.

use std::fs;
use std::path::Path;

/// The names in a directory that are valid UTF-8.
pub(crate) fn names(directory: &Path) -> impl Iterator<Item = String> + use<> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().into_string().ok())
}
