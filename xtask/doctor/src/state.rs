//! The state directory: whether it is writable, supports an overlay, has free space,
//! and has a busybox or a source of one; and the directory for temporary files.

use std::env::temp_dir;
use std::path::Path;

use anyhow::Result;
use common::state::State;
use nix::errno::Errno;
use provision::busybox;
use provision::room::room;

use crate::Caller;
use crate::attempt::{can_execute, in_place};
use crate::report::{Check, Task};
use crate::walls::filter;

/// The space for an image, and for containers that write a few files.
const ROOM: u64 = 16 << 20;

pub(crate) fn checks(caller: Caller, state: Result<State>) -> Vec<Check> {
    let mut checks = match state {
        Ok(state) => place(caller, &state),
        Err(error) => {
            let fix = "export MYDOCKER_ROOT=/dev/shm/mydocker";
            vec![Check::fail("state", format!("{error:#}"), fix)]
        }
    };
    checks = checks.into_iter().map(|c| c.needed(&[Task::MainJob])).collect();
    checks.push(match can_execute(&temp_dir()) {
        Ok(()) => Check::ok(
            "temporary-files",
            format!("programs can be executed in {}", temp_dir().display()),
        ),
        Err(error) => Check::warn(
            "temporary-files",
            error,
            format!(
                "cargo test executes programs there: mount -o remount,exec {}, or export \
                 TMPDIR=DIR, a directory in which programs can be executed",
                temp_dir().display()
            ),
        ),
    });
    checks
}

fn place(caller: Caller, state: &State) -> Vec<Check> {
    let root = state.root();
    let shown = root.display();
    let written = in_place(root, "write", &[]);
    let writable = match &written.error {
        None => Check::ok("state", format!("{shown} is writable")),
        Some(error) => Check::fail("state", error, elsewhere(written.errno())),
    };
    let there = root.ancestors().find(|path| path.is_dir());
    let there = there.unwrap_or(Path::new("/"));
    let free = match room(there, ROOM, "images and containers") {
        Ok(()) => Check::ok("state-room", "enough disk space is free"),
        Err(error) => Check::fail(
            "state-room",
            format!("{error:#}"),
            elsewhere(Some(Errno::ENOSPC)),
        ),
    };
    let merged = in_place(root, "overlay-at", &[caller.word()]);
    let overlay = match &merged.error {
        None => Check::ok("state-overlay", format!("{shown} supports an overlay")),
        Some(error) => {
            let fix = match merged.errno() {
                Some(Errno::EINVAL) => format!(
                    "this filesystem cannot have an overlay's upper directory: export \
                     {MEMORY}, which is in memory, or a directory on ext4, xfs or \
                     btrfs; or run --driver copy"
                ),
                Some(Errno::ENODEV) => {
                    "modprobe overlay; or run --driver copy".into()
                }
                Some(Errno::EPERM) => filter().unwrap_or_else(|| {
                    "see overlay-user and overlay-root; or run --driver copy".into()
                }),
                errno => elsewhere(errno),
            };
            Check::fail("state-overlay", error, fix)
        }
    };
    let busybox = match busybox::source(state) {
        Ok(source) => Check::ok("busybox", source),
        Err(error) => Check::fail(
            "busybox",
            format!("{error:#}"),
            "export MYDOCKER_BUSYBOX=FILE, a static busybox or a tar of a root \
             filesystem",
        ),
    };
    vec![writable, free, overlay, busybox]
}

const MEMORY: &str = "MYDOCKER_ROOT=/dev/shm/mydocker";

/// The remedy for a state directory that is not writable.
fn elsewhere(errno: Option<Errno>) -> String {
    match errno {
        Some(Errno::ENOSPC | Errno::EDQUOT) => {
            format!(
                "free some space, or export {MEMORY} or a directory on another disk"
            )
        }
        Some(Errno::EROFS) => {
            format!("export {MEMORY} or a directory that is not read-only")
        }
        Some(Errno::EACCES | Errno::EPERM) => {
            "export MYDOCKER_ROOT=$HOME/mydocker, or a directory of your own".into()
        }
        _ => format!("export {MEMORY} or another directory"),
    }
}
