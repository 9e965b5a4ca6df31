//! Namespaces, and the proc filesystem in them.

use std::fs::read_to_string;

use nix::errno::Errno;

use crate::Caller;
use crate::child::{Outcome, attempt};
use crate::report::{Check, Status, Task};
use crate::sysctl;

/// The kinds of namespaces, and whether the main job uses them.
const KINDS: [(&str, bool); 6] = [
    ("uts", true),
    ("ipc", true),
    ("pid", true),
    ("mount", true),
    ("net", true),
    ("cgroup", false),
];

pub(crate) fn checks(caller: Caller) -> Vec<Check> {
    let main_job: &[Task] = &[Task::MainJob];
    let mut checks = vec![user(caller)];
    for (kind, needed) in KINDS {
        let id = format!("namespace-{kind}");
        let outcome = attempt(&[kind, caller.word()]);
        let check = match &outcome.error {
            None => Check::ok(&id, "a new one can be created"),
            Some(error) => Check::fail(&id, error, fix(kind, &outcome, caller)),
        };
        checks.push(check.needed(if needed { main_job } else { &[] }));
    }
    let outcome = attempt(&["proc", caller.word()]);
    let check = match &outcome.error {
        None => Check::ok("proc", "can be mounted in a PID namespace"),
        Some(error) => {
            let fix = match outcome.errno() {
                Some(Errno::EPERM)
                    if caller == Caller::User && filter().is_none() =>
                {
                    "the kernel requires a /proc without mounts over it; inside \
                     a container: docker run --security-opt systempaths=unconfined"
                        .to_owned()
                }
                _ => fix("pid", &outcome, caller),
            };
            Check::fail("proc", error, fix)
        }
    };
    checks.push(check.needed(main_job));
    checks
}

/// User namespaces, as this user, and also as an ordinary user if this is root.
fn user(caller: Caller) -> Check {
    let id = "user-namespaces";
    let outcome = attempt(&["ordinary"]);
    let Some(error) = &outcome.error else {
        return Check::ok(id, "ordinary users can create one and are root in it")
            .needed(needed(caller));
    };
    let changed = ["setgroups(2)", "setgid(2)", "setuid(2)"];
    if changed.iter().any(|call| error.starts_with(call)) {
        let fix = "run it as an ordinary user";
        return Check::unknown(
            id,
            format!("an ordinary user cannot be tried: {error}"),
            fix,
        );
    }
    let fix = fix("user", &outcome, Caller::User);
    match caller {
        Caller::User => Check::fail(id, error, fix),
        // Root creates containers without a user namespace.
        Caller::Root => {
            Check::warn(id, format!("not for ordinary users: {error}"), fix)
        }
    }
    .needed(needed(caller))
}

fn needed(caller: Caller) -> &'static [Task] {
    if caller == Caller::User { &[Task::MainJob] } else { &[] }
}

/// The remedy if a namespace cannot be created.
fn fix(kind: &str, outcome: &Outcome, caller: Caller) -> String {
    if let Some(filter) = filter()
        && matches!(
            outcome.errno(),
            Some(Errno::EPERM | Errno::EACCES | Errno::ENOSYS)
        )
    {
        return filter;
    }
    match outcome.errno() {
        Some(Errno::ENOSPC) => sysctl::raise(kind),
        Some(Errno::EINVAL) => {
            let option = match kind {
                "mount" => "NAMESPACES".to_owned(),
                "cgroup" => "CGROUPS".to_owned(),
                kind => format!("{}_NS", kind.to_uppercase()),
            };
            format!("boot a kernel that is built with CONFIG_{option}=y")
        }
        _ => match (sysctl::closed(), caller) {
            (Some(fix), Caller::User) => fix,
            (None, Caller::User) => {
                "run as root with sudo, or use the VM: cargo xtask shell".into()
            }
            (_, Caller::Root) => {
                "inside a container: docker run --privileged; or use the VM: cargo \
                 xtask shell"
                    .into()
            }
        },
    }
}

/// The remedy for a seccomp filter, if this process has one.
///
/// # Source
/// proc_pid_status(5), "Seccomp"
pub(crate) fn filter() -> Option<String> {
    let status = read_to_string("/proc/self/status").unwrap_or_default();
    let mode = status.lines().find_map(|line| line.strip_prefix("Seccomp:"))?;
    (mode.trim() == "2").then(|| {
        "this process has a seccomp filter; inside a container: docker run \
         --security-opt seccomp=unconfined --cap-add SYS_ADMIN"
            .to_owned()
    })
}

/// Turn a failure into a warning, for a check that is only informative.
pub(crate) fn only_told(mut check: Check) -> Check {
    if check.status == Status::Fail {
        check.status = Status::Warn;
    }
    check
}
