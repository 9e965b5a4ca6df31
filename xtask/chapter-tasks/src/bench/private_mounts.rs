//! Mount namespaces for programs that refuse the host's mounts, or that would change them.

use std::fs::File;
use std::panic::resume_unwind;
use std::thread;

use anyhow::{Context, Result};
use ch02_cgroups::{Layout, Version};
use common::step::Step;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, setns, unshare};

/// A mount namespace whose changes the host does not see. Only threads enter it: this
/// process and its other children stay in the host's namespace.
#[derive(Debug)]
pub(super) struct PrivateMounts(File);

impl PrivateMounts {
    /// One without cgroup v2 if the host has both versions; `None` if it has only one.
    /// OCI runtimes support hosts with v1 or with v2, but crun refuses a host with
    /// controllers in both.
    ///
    /// # Errors
    /// unshare(2) or umount(2) fails.
    pub(super) fn without_v2() -> Result<Option<PrivateMounts>> {
        let (v2, v1): (Vec<_>, Vec<_>) = Layout::find()?
            .hierarchies
            .into_iter()
            .partition(|hierarchy| hierarchy.version == Version::V2);
        if v1.is_empty() || v2.is_empty() {
            return Ok(None);
        }
        let namespace = in_thread(|| {
            private_view()?;
            for hierarchy in v2 {
                umount2(&hierarchy.mount, MntFlags::MNT_DETACH)
                    .step(|| format!("umount(2) {}", hierarchy.mount.display()))?;
            }
            File::open(THREAD_NAMESPACE).context("open the namespace of the thread")
        })?;
        Ok(Some(PrivateMounts(namespace)))
    }

    /// The host's mounts with an empty `/run`, for a program that does not unmount what it
    /// mounts and that writes to `/run`. Its mounts end with this value and its processes.
    ///
    /// # Errors
    /// unshare(2), mount(2) or open(2) fails.
    pub(super) fn with_empty_run() -> Result<PrivateMounts> {
        let make = || {
            private_view()?;
            let (none, tmpfs) = (None::<&str>, Some("tmpfs"));
            mount(tmpfs, "/run", tmpfs, MsFlags::empty(), none)
                .step(|| "mount(2) tmpfs on /run")?;
            File::open(THREAD_NAMESPACE).context("open the namespace of the thread")
        };
        in_thread(make).map(PrivateMounts)
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

/// The mount namespace of the calling thread.
const THREAD_NAMESPACE: &str = "/proc/thread-self/ns/mnt";

/// Give the calling thread a mount namespace. Its changes do not propagate to the host.
fn private_view() -> Result<()> {
    unshare(CloneFlags::CLONE_NEWNS).step(|| "unshare(2) CLONE_NEWNS")?;
    let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    // Before the first other change, which would otherwise propagate to the host.
    mount(None::<&str>, "/", None::<&str>, private, None::<&str>)
        .step(|| "mount(2) / MS_REC|MS_PRIVATE")
}

fn in_thread<T: Send>(work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    thread::scope(|scope| scope.spawn(work).join())
        .unwrap_or_else(|p| resume_unwind(p))
}
