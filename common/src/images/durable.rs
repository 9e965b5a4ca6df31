//! Files that survive a power failure.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use anyhow::Result;

use crate::cli::hints;
use crate::cli::step::{Hint, Step};

/// Write a file. After a power failure, the file has either the new content or the
/// old one. Two processes must not write the same file at once.
///
/// # Errors
/// open(2), write(2), fsync(2) or rename(2) fails.
pub fn write_durably(path: &Path, bytes: &[u8]) -> Result<()> {
    let step = || format!("write {}", path.display());
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let new = path.with_file_name(format!(".{name}.new"));
    let mut file = File::create(&new).step(step).hint(hints::state)?;
    file.write_all(bytes).step(step).hint(hints::state)?;
    file.sync_all().step(step).hint(hints::state)?;
    fs::rename(&new, path).step(step)?;
    path.parent().map_or(Ok(()), sync)
}

/// Write a directory's entries to the disk.
///
/// # Errors
/// open(2) or fsync(2) fails.
pub fn sync(directory: &Path) -> Result<()> {
    let file =
        File::open(directory).step(|| format!("open(2) {}", directory.display()))?;
    file.sync_all().step(|| format!("fsync(2) {}", directory.display()))
}

/// Remove a file. A missing file is not an error.
///
/// # Errors
/// unlink(2) fails.
pub fn remove_if_there(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed.step(|| format!("unlink(2) {}", path.display())),
    }
}
