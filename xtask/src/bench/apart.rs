//! A mount namespace for programs that refuse the host's mounts.

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
/// OCI runtimes support hosts with v1 or with v2, but crun refuses a host with
/// controllers in both. Only threads enter this namespace: this process and its
/// other children stay in the host's namespace.
#[derive(Debug)]
pub(super) struct Apart(File);

impl Apart {
    /// Create it if the host has both versions; `None` if it has only one.
    ///
    /// # Errors
    /// unshare(2) or umount(2) fails.
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
            // Before the first umount(2), which would otherwise propagate to the
            // host.
            mount(None::<&str>, "/", None::<&str>, private, None::<&str>)
                .step(|| "mount(2) / MS_REC|MS_PRIVATE")?;
            for hierarchy in v2 {
                umount2(&hierarchy.mount, MntFlags::MNT_DETACH)
                    .step(|| format!("umount(2) {}", hierarchy.mount.display()))?;
            }
            File::open("/proc/thread-self/ns/mnt")
                .context("open the namespace of the thread")
        })?;
        Ok(Some(Apart(namespace)))
    }

    /// Run `work` in this namespace, in a new thread.
    ///
    /// # Errors
    /// setns(2) or the work fails.
    pub(super) fn within<T: Send>(
        &self,
        work: impl FnOnce() -> Result<T> + Send,
    ) -> Result<T> {
        in_thread(|| {
            // A thread that shares its working directory with others cannot change
            // its mount namespace.
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
