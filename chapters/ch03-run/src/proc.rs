//! A /proc that shows the container's own processes.

use anyhow::Result;
use common::step::Step;
use common::{ParentLink, Part, Plan};
use nix::mount::{MsFlags, mount};

/// The part that mounts a new /proc over the host's /proc. It shows the processes of
/// the container's own PID namespace.
///
/// # Source
/// proc(5)
#[derive(Debug)]
pub struct Proc;

// ANCHOR: part
impl Part for Proc {
    fn name(&self) -> &'static str {
        "proc"
    }

    fn enter(&self, _plan: &Plan, _link: &ParentLink) -> Result<()> {
        let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
        mount(Some("proc"), "/proc", Some("proc"), flags, None::<&str>)
            .step(|| "mount(2) proc on /proc nosuid,nodev,noexec")
    }
}
// ANCHOR_END: part
