//! Removing a directory tree.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::Result;
use nix::errno::Errno;

use crate::cli::step::Step;

/// The maximum time that a container may take to die after its supervisor was killed.
const EXIT_TIMEOUT: Duration = Duration::from_secs(2);

/// Remove a directory and everything below it. A missing directory is not an error.
///
/// # Errors
/// unlink(2) or rmdir(2) fails.
pub fn remove_tree(dir: &Path) -> Result<()> {
    let deadline = Instant::now() + EXIT_TIMEOUT;
    loop {
        match remove_once(dir) {
            // The kernel releases the lock of a killed supervisor before it ends the
            // container. Until then the container may create files.
            Err(e)
                if e.kind() == io::ErrorKind::DirectoryNotEmpty
                    && Instant::now() < deadline =>
            {
                sleep(Duration::from_millis(5));
            }
            removed => return removed.step(|| format!("rm -r {}", dir.display())),
        }
    }
}

fn remove_once(dir: &Path) -> io::Result<()> {
    // In most cases the directory is empty by now.
    let removed = match fs::remove_dir(dir).or_else(|_| fs::remove_dir_all(dir)) {
        Err(e) if e.kind() == io::ErrorKind::NotADirectory => fs::remove_file(dir),
        // overlay leaves its `work/work` with mode 000, which only root can read; a
        // container's own directories may have such modes too.
        Err(e) if e.kind() == io::ErrorKind::PermissionDenied => {
            open_up(dir);
            fs::remove_dir_all(dir)
        }
        removed => removed,
    };
    ignore_missing(removed)
}

fn open_up(dir: &Path) {
    // If this fails, the removal that follows reports the directory.
    let _ = fs::set_permissions(dir, fs::Permissions::from_mode(0o700));
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            open_up(&entry.path());
        }
    }
}

pub(crate) fn ignore_missing(removed: io::Result<()>) -> io::Result<()> {
    removed.or_else(|e| match e.raw_os_error().map(Errno::from_raw) {
        Some(Errno::ENOENT) => Ok(()),
        _ => Err(e),
    })
}
