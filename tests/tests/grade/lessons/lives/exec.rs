//! `exec`: a second program in a running container.

use std::fs;
use std::os::unix::fs::MetadataExt;

use super::one::One;
use crate::outcome::{Outcome, Trouble, so};
use crate::process::{field, link};
use crate::room::Room;

/// The PIDs on the host.
struct Pids {
    /// The first process of the container.
    first: i32,
    /// The program of `exec`.
    program: i32,
    /// The process that the user called.
    caller: i32,
}

/// Call `look` while `exec` runs a program in a container with these flags.
fn beside(
    room: &Room,
    flags: &[&str],
    look: impl FnOnce(&Pids) -> Outcome,
) -> Outcome {
    let one = One::detached(room, flags, "exec sleep 1000")?;
    let first = one.pid()?;
    let exec = ["exec", "one", "sh", "-c", "exec tail -f /dev/null"];
    let mut running = room.words(&exec).start()?;
    let program = running.has("tail")?;
    look(&Pids { first, program, caller: running.pid() })
}

pub(super) fn namespaces(room: &mut Room) -> Outcome {
    beside(room, &[], |pids| {
        let kinds = ["cgroup", "ipc", "mnt", "net", "pid", "user", "uts"];
        let differing = kinds.iter().filter(|kind| {
            let name = format!("ns/{kind}");
            link(pids.first, &name) != link(pids.program, &name)
        });
        let differing: Vec<_> = differing.copied().collect();
        so(
            differing.is_empty(),
            "the namespaces of the container, as /proc/PID/ns shows them",
            format!("other namespaces of these kinds: {}", differing.join(", ")),
        )
    })
}

pub(super) fn cgroup(room: &mut Room) -> Outcome {
    let groups = |pid: &str| fs::read_to_string(format!("/proc/{pid}/cgroup"));
    beside(room, &[], |pids| {
        let text = |pid: &str| groups(pid).unwrap_or_default();
        let own = text("self");
        let [first, program] =
            [pids.first, pids.program].map(|pid| text(&pid.to_string()));
        if own == first {
            return Err(Trouble::skip("the container has no cgroup of its own"));
        }
        so(
            first == program,
            &format!("/proc/PID/cgroup as that of the container: {first:?}"),
            format!("{program:?}"),
        )
    })
}

pub(super) fn parent(room: &mut Room) -> Outcome {
    beside(room, &[], |pids| {
        let parent = field(pids.program, "PPid");
        let caller = pids.caller.to_string();
        so(
            parent == caller,
            "the process that was called is the parent of the program",
            format!("its parent is process {parent}, and {caller} was called"),
        )
    })
}

pub(super) fn exit_status(room: &mut Room) -> Outcome {
    let _one = One::detached(room, &[], "exec sleep 1000")?;
    room.words(&["exec", "one", "sh", "-c", "exit 7"]).end()?.exits(7)
}

pub(super) fn root_directory(room: &mut Room) -> Outcome {
    let root = |pid: i32| {
        let about = fs::metadata(format!("/proc/{pid}/root/"));
        about.ok().map(|about| (about.dev(), about.ino()))
    };
    beside(room, &["--chroot"], |pids| {
        so(
            root(pids.first) == root(pids.program),
            "/proc/PID/root is the root directory of the container",
            "another directory: that of its mount namespace",
        )
    })
}
