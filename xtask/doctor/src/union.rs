//! overlayfs and aufs, in memory. state.rs checks the filesystem of the state
//! directory.

use nix::errno::Errno;

use crate::Caller;
use crate::child::{Outcome, attempt};
use crate::report::{Check, Task};
use crate::walls::filter;

pub(crate) fn checks(caller: Caller) -> Vec<Check> {
    let mut checks = Vec::new();
    checks.push(match caller {
        Caller::User => {
            Check::unknown("overlay-root", "only root can try", "run it as root")
        }
        Caller::Root => {
            overlay("overlay-root", Caller::Root).needed(&[Task::MainJob])
        }
    });
    let user = overlay("overlay-user", Caller::User);
    checks.push(match caller {
        Caller::User => user.needed(&[Task::MainJob]),
        // Root's containers do not need it.
        Caller::Root => crate::walls::only_told(user),
    });
    let id = "aufs";
    checks.push(match caller {
        Caller::User => Check::unknown(id, "only root can mount it", "run it as root"),
        Caller::Root => match attempt(&["aufs"]).error {
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

fn overlay(id: &str, caller: Caller) -> Check {
    let outcome = attempt(&["overlay", caller.word()]);
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
