//! The namespaces of chapter 2 as one composite part.

use ch02_ipc::Ipc;
use ch02_mount::Mount;
use ch02_net::Net;
use ch02_pid::Pid;
use ch02_uts::Uts;
use common::Composite;

// ANCHOR: part
/// A composite part with the UTS, IPC, PID, mount and network namespaces. It
/// forwards every hook to each of its parts.
#[must_use]
pub fn walls(uts: ch02_uts::Flags) -> Composite {
    Composite::new("walls")
        .part(Uts::new(uts))
        .part(Ipc)
        .part(Pid)
        .part(Mount)
        .part(Net)
}
// ANCHOR_END: part
