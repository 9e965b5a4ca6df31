//! overlayfs and aufs, in memory. state.rs checks the filesystem of the state
//! directory.

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
        // Root's containers do not need it.
        Who::Root => crate::walls::only_told(user),
    });
    let id = "aufs";
    checks.push(match who {
        Who::User => Check::unknown(id, "only root can mount it", "run it as root"),
        Who::Root => match attempt(&["aufs"]).error {
            None => Check::ok(id, "a union of two branches can be mounted"),
            Some(error) => {
                let fix = "not required: overlay does the same; --driver aufs requires a \
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
        None => Check::ok(id, "two directory trees can be merged and changed"),
        Some(error) => Check::fail(id, error, fix(&outcome)),
    }
}

fn fix(outcome: &Outcome) -> String {
    match outcome.errno() {
        Some(Errno::ENODEV) => {
            "modprobe overlay; or use no union filesystem: run --driver copy".into()
        }
        _ => filter().unwrap_or_else(|| {
            "use run --driver copy; from Linux 5.11 on, ordinary users can mount \
             overlay in a user namespace"
                .into()
        }),
    }
}
