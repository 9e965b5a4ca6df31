//! overlayfs and aufs, in memory. Where the state directory lies: see there.

use nix::errno::Errno;

use crate::Who;
use crate::child::{Outcome, attempt};
use crate::report::{Check, Task};
use crate::walls::filter;

pub(crate) fn checks(who: Who) -> Vec<Check> {
    let mut checks = Vec::new();
    checks.push(match who {
        Who::User => {
            Check::unknown("overlay-root", "only root can try", "run it as root")
        }
        Who::Root => overlay("overlay-root", Who::Root).needed(&[Task::MainJob]),
    });
    let user = overlay("overlay-user", Who::User);
    checks.push(match who {
        Who::User => user.needed(&[Task::MainJob]),
        // Root's containers need none of it.
        Who::Root => crate::walls::only_told(user),
    });
    let id = "aufs";
    checks.push(match who {
        Who::User => Check::unknown(id, "only root can mount it", "run it as root"),
        Who::Root => match attempt(&["aufs"]).error {
            None => Check::ok(id, "a union of two branches can be mounted"),
            Some(error) => {
                let fix = "none needed: overlay does the same; --driver aufs takes a \
                           kernel with aufs (--kernel PATH for the VM)";
                Check::warn(id, error, fix)
            }
        },
    });
    checks
}

fn overlay(id: &str, who: Who) -> Check {
    let outcome = attempt(&["overlay", who.word()]);
    match &outcome.error {
        None => Check::ok(id, "two trees can be merged, and written to"),
        Some(error) => Check::fail(id, error, fix(&outcome)),
    }
}

fn fix(outcome: &Outcome) -> String {
    match outcome.errno() {
        Some(Errno::ENODEV) => {
            "modprobe overlay; or without a union: run --driver copy".into()
        }
        _ => filter().unwrap_or_else(|| {
            "run --driver copy does without; Linux 5.11 and later let ordinary users \
             mount it where they get a user namespace"
                .into()
        }),
    }
}
