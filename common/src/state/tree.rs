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

/// How long a container whose host side was killed may take to die.
const DYING: Duration = Duration::from_secs(2);

/// Remove a directory and all below it; nothing there is fine.
///
/// # Errors
/// Those of unlink(2) and rmdir(2).
pub fn remove_tree(dir: &Path) -> Result<()> {
    let deadline = Instant::now() + DYING;
    loop {
        match remove_once(dir) {
            // The kernel frees the lock of a killed host side before it ends the
            // container, which may write until then.
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
    // An empty one is most often what is left.
    let removed = match fs::remove_dir(dir).or_else(|_| fs::remove_dir_all(dir)) {
        Err(e) if e.kind() == io::ErrorKind::NotADirectory => fs::remove_file(dir),
        // overlay leaves its `work/work` with mode 000, which only root looks into;
        // a container's own directories may be as closed.
        Err(e) if e.kind() == io::ErrorKind::PermissionDenied => {
            open_up(dir);
            fs::remove_dir_all(dir)
        }
        removed => removed,
    };
    gone(removed)
}

fn open_up(dir: &Path) {
    // What can't be opened is named by the removal that follows.
    let _ = fs::set_permissions(dir, fs::Permissions::from_mode(0o700));
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            open_up(&entry.path());
        }
    }
}

pub(crate) fn gone(removed: io::Result<()>) -> io::Result<()> {
    removed.or_else(|e| match e.raw_os_error().map(Errno::from_raw) {
        Some(Errno::ENOENT) => Ok(()),
        _ => Err(e),
    })
}
