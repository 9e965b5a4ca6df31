//! The end of a group, and of whoever is in it.

use std::fs::{self, read_to_string};
use std::io;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::Result;
use common::step::Step;
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// A process that was killed is in its group until it has ended.
const DYING: Duration = Duration::from_secs(2);

/// The processes of the group in this directory.
pub(crate) fn processes(path: &Path) -> Result<Vec<i32>> {
    let path = path.join("cgroup.procs");
    let text =
        read_to_string(&path).look(|| format!("read(2) {}", path.display()))?;
    Ok(text.lines().filter_map(|line| line.parse().ok()).collect())
}

// ANCHOR: destroy
/// Remove a group's directory, whoever is in it, and whatever groups are inside. That
/// it isn't there is fine.
///
/// # Errors
/// A process that doesn't die: it is in a system call that can't be interrupted.
pub(crate) fn destroy(path: &Path) -> Result<()> {
    // The kernel removes a group in which there is nobody and nothing.
    let removed = fs::remove_dir(path);
    if removed.is_ok() {
        return removed.step(|| format!("rmdir(2) {}", path.display()));
    }
    let inner = match fs::read_dir(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        inner => inner.look(|| format!("readdir(3) {}", path.display()))?,
    };
    for entry in inner {
        let entry = entry.look(|| format!("readdir(3) {}", path.display()))?;
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            destroy(&entry.path())?;
        }
    }
    let deadline = Instant::now() + DYING;
    loop {
        // Without a PID namespace the container's daemons live on when it ends.
        end_all(path)?;
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

/// Kill everybody in the group: at once where the kernel can, else one after the
/// other, as often as new ones turn up.
///
/// # Source
/// cgroup-v2.rst, "cgroup.kill"; Linux 5.14
fn end_all(path: &Path) -> Result<()> {
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
        // 0 is a process of another PID namespace: to it, our own group. Never that.
        if process > 0 {
            let _ = kill(Pid::from_raw(process), Signal::SIGKILL);
        }
    }
    Ok(())
}
// ANCHOR_END: destroy
