//! The sysctls that disable namespaces, and further requirements of ordinary users.

use std::env::split_paths;
use std::fs::read_to_string;

use crate::Caller;
use crate::report::{Check, Task};

/// The kinds in `user.max_KIND_namespaces`.
const LIMITS: [&str; 7] = ["user", "mnt", "pid", "net", "ipc", "uts", "cgroup"];

pub(crate) fn checks(caller: Caller) -> Vec<Check> {
    let needed: &[Task] =
        if caller == Caller::User { &[Task::MainJob] } else { &[] };
    let severe = |id: &str, detail: String, fix: String| match caller {
        Caller::User => Check::fail(id, detail, fix).needed(needed),
        Caller::Root => Check::warn(id, detail, fix),
    };
    let closed: Vec<&str> =
        LIMITS.into_iter().filter(|kind| read(&limit(kind)) == Some(0)).collect();
    let mut checks = vec![match closed.as_slice() {
        [] => Check::ok("sysctl-max-namespaces", "no user.max_*_namespaces is 0"),
        closed => {
            let names: Vec<_> = closed.iter().map(|kind| limit(kind)).collect();
            let orders: Vec<_> =
                names.iter().map(|name| format!("{name}=15000")).collect();
            severe(
                "sysctl-max-namespaces",
                format!("0: {}", names.join(", ")),
                format!("sysctl -w {}", orders.join(" ")),
            )
        }
    }];
    for (id, name, bad, what) in [
        (
            "sysctl-userns-clone",
            CLONE,
            0,
            "disables user namespaces for ordinary users",
        ),
        (
            "sysctl-apparmor-userns",
            APPARMOR,
            1,
            "denies ordinary users the capabilities in their user namespaces",
        ),
    ] {
        checks.push(match read(name) {
            Some(value) if value == bad => {
                let fix = format!("sysctl -w {name}={}", 1 - bad);
                severe(id, format!("{name} is {value}, which {what}"), fix)
            }
            Some(value) => Check::ok(id, format!("{name} is {value}")),
            None => Check::ok(id, format!("this kernel has no {name}")),
        });
    }
    checks.push(ranges(caller));
    checks
}

const CLONE: &str = "kernel.unprivileged_userns_clone";
const APPARMOR: &str = "kernel.apparmor_restrict_unprivileged_userns";

/// Several users in a user namespace; this is optional.
fn ranges(caller: Caller) -> Check {
    let id = "subordinate-ids";
    let mut missing = Vec::new();
    for tool in ["newuidmap", "newgidmap"] {
        if !split_paths(common::PATH).any(|dir| dir.join(tool).is_file()) {
            missing.push(format!("no {tool}"));
        }
    }
    for list in ["/etc/subuid", "/etc/subgid"] {
        if read_to_string(list).unwrap_or_default().trim().is_empty() {
            missing.push(format!("no line in {list}"));
        }
    }
    if missing.is_empty() && caller == Caller::User && !ch02_user::has_range() {
        missing.push("no line of this user in /etc/subuid and /etc/subgid".into());
    }
    if missing.is_empty() {
        return Check::ok(id, "newuidmap, newgidmap and ID ranges for them exist");
    }
    let fix = "to map more than one user (ch02-user without --single): install uidmap \
               (shadow-utils on Fedora, shadow-subids on Alpine), then usermod \
               --add-subuids 100000-165535 --add-subgids 100000-165535 USER";
    Check::warn(id, missing.join(", "), fix)
}

/// The remedy if a limit of namespaces is reached.
pub(crate) fn raise(kind: &str) -> String {
    let name = limit(if kind == "mount" { "mnt" } else { kind });
    let user = limit("user");
    // An ordinary user first needs a user namespace.
    let name = if read(&user) == Some(0) { user } else { name };
    match read(&name) {
        Some(0) => format!("sysctl -w {name}=15000"),
        _ => format!("stop other containers, or sysctl -w {name}=15000"),
    }
}

/// The command that enables user namespaces for ordinary users.
pub(crate) fn closed() -> Option<String> {
    let turned = [(CLONE, 0), (APPARMOR, 1)].into_iter();
    let mut found = turned.filter(|(name, bad)| read(name) == Some(*bad));
    found.next().map(|(name, bad)| format!("sysctl -w {name}={}", 1 - bad))
}

fn limit(kind: &str) -> String {
    format!("user.max_{kind}_namespaces")
}

fn read(name: &str) -> Option<u64> {
    let path = format!("/proc/sys/{}", name.replace('.', "/"));
    read_to_string(path).ok()?.trim().parse().ok()
}
