//! The state directory: whether it can be written, holds a write layer, has room,
//! and has a busybox or a way to one; and the place for temporary files.

use std::env::temp_dir;
use std::path::Path;

use anyhow::Result;
use common::state::State;
use nix::errno::Errno;
use provision::busybox;
use provision::room::room;

use crate::Who;
use crate::attempt::{can_execute, in_place};
use crate::report::{Check, Task};
use crate::walls::filter;

/// An image, and containers that write a little.
const ROOM: u64 = 16 << 20;

pub(crate) fn checks(who: Who, state: Result<State>) -> Vec<Check> {
    let mut checks = match state {
        Ok(state) => place(who, &state),
        Err(error) => {
            let fix = "export MYDOCKER_ROOT=/dev/shm/mydocker";
            vec![Check::fail("state", format!("{error:#}"), fix)]
        }
    };
    checks = checks.into_iter().map(|c| c.needed(&[Task::MainJob])).collect();
    checks.push(match can_execute(&temp_dir()) {
        Ok(()) => Check::ok(
            "temporary-files",
            format!("programs run in {}", temp_dir().display()),
        ),
        Err(error) => Check::warn(
            "temporary-files",
            error,
            format!(
                "cargo test runs programs there: mount -o remount,exec {}, or export \
                 TMPDIR=DIR, a directory where programs run",
                temp_dir().display()
            ),
        ),
    });
    checks
}

fn place(who: Who, state: &State) -> Vec<Check> {
    let root = state.root();
    let shown = root.display();
    let written = in_place(root, "write", &[]);
    let writable = match &written.error {
        None => Check::ok("state", format!("{shown} can be written")),
        Some(error) => Check::fail("state", error, elsewhere(written.errno())),
    };
    let there = root.ancestors().find(|path| path.is_dir());
    let there = there.unwrap_or(Path::new("/"));
    let free = match room(there, ROOM, "images and containers") {
        Ok(()) => Check::ok("state-room", "enough of it is free"),
        Err(error) => Check::fail(
            "state-room",
            format!("{error:#}"),
            elsewhere(Some(Errno::ENOSPC)),
        ),
    };
    let merged = in_place(root, "overlay-at", &[who.word()]);
    let overlay = match &merged.error {
        None => Check::ok("state-overlay", format!("{shown} takes a write layer")),
        Some(error) => {
            let fix = match merged.errno() {
                Some(Errno::EINVAL) => format!(
                    "overlayfs takes no write layer on this file system: export \
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
            "export MYDOCKER_BUSYBOX=FILE, a static busybox or a tar of a root file \
             system",
        ),
    };
    vec![writable, free, overlay, busybox]
}

const MEMORY: &str = "MYDOCKER_ROOT=/dev/shm/mydocker";

/// What to do about a state directory that can't be written.
fn elsewhere(errno: Option<Errno>) -> String {
    match errno {
        Some(Errno::ENOSPC | Errno::EDQUOT) => {
            format!("make room, or export {MEMORY}, or a directory on another disk")
        }
        Some(Errno::EROFS) => {
            format!("export {MEMORY}, or a directory that is not read-only")
        }
        Some(Errno::EACCES | Errno::EPERM) => {
            "export MYDOCKER_ROOT=$HOME/mydocker, or a directory of your own".into()
        }
        _ => format!("export {MEMORY}, or another directory"),
    }
}
