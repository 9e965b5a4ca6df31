//! The removal of a group and of the processes in it.

use std::fs;
use std::io;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::Result;
use ch02_cgroups::processes;
use common::step::Step;
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// A killed process remains in its group until it has ended.
const EXIT_TIMEOUT: Duration = Duration::from_secs(2);

// ANCHOR: destroy
/// Remove a group's directory, the processes in it and the groups inside it. It is
/// no error if the directory does not exist.
///
/// # Errors
/// EBUSY from rmdir(2) if a process does not end: it is in a system call that cannot
/// be interrupted.
pub(crate) fn destroy(path: &Path) -> Result<()> {
    // The usual case: the group is empty.
    let removed = fs::remove_dir(path);
    if removed.is_ok() {
        return removed.step(|| format!("rmdir(2) {}", path.display()));
    }
    let inner = match fs::read_dir(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        inner => inner.untraced(|| format!("readdir(3) {}", path.display()))?,
    };
    for entry in inner {
        let entry = entry.untraced(|| format!("readdir(3) {}", path.display()))?;
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            destroy(&entry.path())?;
        }
    }
    let deadline = Instant::now() + EXIT_TIMEOUT;
    loop {
        // Without a PID namespace, background processes outlive the container.
        kill_all(path)?;
        match fs::remove_dir(path) {
            Err(e)
                if e.kind() == io::ErrorKind::ResourceBusy
                    && Instant::now() < deadline =>
            {
                sleep(Duration::from_millis(1));
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
            removed => {
                return removed.step(|| format!("rmdir(2) {}", path.display()));
            }
        }
    }
}

/// Kill every process in the group: all at once if the kernel can do this, otherwise
/// one by one. The caller repeats this until no process remains.
///
/// # Source
/// cgroup-v2.rst, "cgroup.kill"; Linux 5.14
fn kill_all(path: &Path) -> Result<()> {
    let living = match processes(path) {
        Ok(living) => living,
        Err(e) if e.root_cause().downcast_ref() == Some(&Errno::ENOENT) => {
            return Ok(());
        }
        Err(e) => return Err(e),
    };
    if living.is_empty() || fs::write(path.join("cgroup.kill"), "1").is_ok() {
        return Ok(());
    }
    for process in living {
        // 0 stands for a process in another PID namespace. kill(0) would signal our
        // own process group.
        if process > 0 {
            let _ = kill(Pid::from_raw(process), Signal::SIGKILL);
        }
    }
    Ok(())
}
// ANCHOR_END: destroy
