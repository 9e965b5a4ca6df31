//! Another view of the host's mounts, for programs that don't take the host's.

use std::fs::File;
use std::panic::resume_unwind;
use std::thread;

use anyhow::{Context, Result};
use ch02_cgroups::{Layout, Version};
use common::step::Step;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, setns, unshare};

/// A mount namespace without cgroup v2.
///
/// The OCI runtimes know hosts that are v1 and hosts that are v2, and crun refuses
/// one that has controllers in both. Only threads enter it: this process and its
/// other children stay where they are.
#[derive(Debug)]
pub(super) struct Apart(File);

impl Apart {
    /// Where the host has both versions; `None` where it is of one kind.
    ///
    /// # Errors
    /// Those of unshare(2) and umount(2).
    pub(super) fn if_hybrid() -> Result<Option<Apart>> {
        let (v2, v1): (Vec<_>, Vec<_>) = Layout::find()?
            .hierarchies
            .into_iter()
            .partition(|hierarchy| hierarchy.version == Version::V2);
        if v1.is_empty() || v2.is_empty() {
            return Ok(None);
        }
        let namespace = in_thread(|| {
            unshare(CloneFlags::CLONE_NEWNS).step(|| "unshare(2) CLONE_NEWNS")?;
            let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
            // Before the first umount(2), which would reach the host otherwise.
            mount(None::<&str>, "/", None::<&str>, private, None::<&str>)
                .step(|| "mount(2) / MS_REC|MS_PRIVATE")?;
            for hierarchy in v2 {
                umount2(&hierarchy.mount, MntFlags::MNT_DETACH)
                    .step(|| format!("umount(2) {}", hierarchy.mount.display()))?;
            }
            File::open("/proc/thread-self/ns/mnt").context("a thread's namespace")
        })?;
        Ok(Some(Apart(namespace)))
    }

    /// Do something in there, in a thread of its own.
    ///
    /// # Errors
    /// Those of setns(2), and the work's.
    pub(super) fn within<T: Send>(
        &self,
        work: impl FnOnce() -> Result<T> + Send,
    ) -> Result<T> {
        in_thread(|| {
            // A thread that shares its working directory with others can't leave
            // their mount namespace.
            unshare(CloneFlags::CLONE_FS).step(|| "unshare(2) CLONE_FS")?;
            setns(&self.0, CloneFlags::CLONE_NEWNS).step(|| "setns(2) of mounts")?;
            work()
        })
    }
}

fn in_thread<T: Send>(work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    thread::scope(|scope| scope.spawn(work).join())
        .unwrap_or_else(|p| resume_unwind(p))
}
