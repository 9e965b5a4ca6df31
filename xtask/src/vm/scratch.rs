//! A directory for one run. It is removed at the end of the run, or by the next run
//! if this one was killed.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::Result;
use common::state::remove_tree;
use common::step::Step;

/// The directory; dropping it removes it.
pub struct Scratch {
    path: PathBuf,
    /// The lock tells other processes that this one is alive.
    _lock: File,
}

impl Scratch {
    /// Create a directory below `parent`, and remove those of dead runs.
    ///
    /// # Errors
    /// The disk is full, or `parent` is not writable.
    pub fn new(parent: &Path) -> Result<Scratch> {
        fs::create_dir_all(parent)
            .step(|| format!("mkdir(2) {}", parent.display()))?;
        sweep(parent)?;
        loop {
            let path = parent.join(format!("{}.run", common::state::Id::new()?));
            let lock_path = path.with_extension("lock");
            let lock = File::create_new(&lock_path)
                .step(|| format!("open(2) {}", lock_path.display()))?;
            lock.lock().step(|| format!("flock(2) {}", lock_path.display()))?;
            // Another run may have removed the file between open(2) and flock(2).
            if lock_path.exists() {
                fs::create_dir(&path)
                    .step(|| format!("mkdir(2) {}", path.display()))?;
                return Ok(Scratch { path, _lock: lock });
            }
        }
    }

    /// The path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // If this fails, the next run removes it.
        let _ = remove_tree(&self.path);
        let _ = fs::remove_file(self.path.with_extension("lock"));
    }
}

fn sweep(parent: &Path) -> Result<()> {
    let entries =
        fs::read_dir(parent).step(|| format!("readdir(3) {}", parent.display()))?;
    for path in entries.flatten().map(|entry| entry.path()) {
        if path.extension().is_none_or(|extension| extension != "lock") {
            continue;
        }
        let Ok(lock) = File::open(&path) else { continue };
        if lock.try_lock().is_ok() {
            let _ = remove_tree(&path.with_extension("run"));
            let _ = fs::remove_file(&path);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_removes_its_directory_and_those_of_dead_runs() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("dead.lock"), "").unwrap();
        fs::create_dir_all(dir.path().join("dead.run/half")).unwrap();
        let first = Scratch::new(dir.path()).unwrap();
        let second = Scratch::new(dir.path()).unwrap();
        assert!(first.path().is_dir() && second.path().is_dir());
        assert!(!dir.path().join("dead.run").exists());
        drop(first);
        drop(second);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
