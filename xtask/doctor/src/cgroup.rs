//! The cgroup layout, each controller, and a place for cgroups.

use std::fs::read_to_string;
use std::path::Path;

use ch02_cgroups::{Group, Layout, Version};
use common::rights;
use nix::errno::Errno;

use crate::child::attempt;
use crate::report::Check;

/// The controllers of the course, by their names in v1 and v2.
const CONTROLLERS: [(&str, &str); 5] = [
    ("cpu", "cpu"),
    ("cpuset", "cpuset"),
    ("memory", "memory"),
    ("pids", "pids"),
    ("blkio", "io"),
];

/// The main job needs none of them, because it has no limits by default.
pub(crate) fn checks() -> Vec<Check> {
    let layout = match Layout::find() {
        Ok(layout) => layout,
        Err(error) => {
            let fix = "mount -t cgroup2 none /sys/fs/cgroup";
            return vec![Check::fail("cgroup", format!("{error:#}"), fix)];
        }
    };
    let has = |version| {
        layout.hierarchies.iter().any(|hierarchy| hierarchy.version == version)
    };
    let v2_only = !has(Version::V1);
    let name = match (has(Version::V1), has(Version::V2)) {
        (true, true) => "hybrid: v1, and an additional v2 hierarchy",
        (true, false) => "v1",
        _ => "v2",
    };
    let mut checks = vec![Check::ok("cgroup", name)];
    for (v1, v2) in CONTROLLERS {
        let id = format!("cgroup-{v2}");
        checks.push(match layout.of(v2).or_else(|| layout.of(v1)) {
            Some(found) => {
                let version = if found.version == Version::V1 { "v1" } else { "v2" };
                Check::ok(&id, format!("{version}, in {}", found.mount.display()))
            }
            None => {
                let wanted = if v2_only { v2 } else { v1 };
                missing(&id, wanted, v2_only)
            }
        });
    }
    checks.push(place(layout));
    checks
}

/// The finding for a controller that no hierarchy has.
fn missing(id: &str, name: &str, v2_only: bool) -> Check {
    let known = read_to_string("/proc/cgroups").unwrap_or_default();
    let v1 = if name == "io" { "blkio" } else { name };
    let enabled = known.lines().find_map(|line| {
        let mut words = line.split_whitespace();
        (words.next() == Some(v1)).then(|| words.nth(2) == Some("1"))
    });
    let at = format!("/sys/fs/cgroup/{v1}");
    match enabled {
        Some(false) => Check::fail(
            id,
            format!("the kernel was booted without the controller {name}"),
            format!("boot with cgroup_enable={v1} on the kernel's command line"),
        ),
        Some(true) if v2_only => Check::fail(
            id,
            format!("the controller {name} is not enabled in this cgroup"),
            format!(
                "in each parent cgroup, from the top: echo +{name} > \
                 cgroup.subtree_control"
            ),
        ),
        Some(true) => Check::fail(
            id,
            format!("the controller {name} is not mounted"),
            format!(
                "mkdir -p {at} && mount -t cgroup -o {name} none {at}; where the \
                 kernel refuses, it has {name} in v2 only: boot with \
                 systemd.unified_cgroup_hierarchy=1"
            ),
        ),
        None => Check::fail(
            id,
            format!("this kernel has no controller {name}"),
            "boot a kernel that is built with it: CONFIG_CGROUPS, and the \
             options below it in make menuconfig",
        ),
    }
}

/// Try to create a cgroup in the place for this process.
fn place(layout: Layout) -> Check {
    let id = "cgroup-place";
    let name = format!("doctor-{}", std::process::id());
    let group = match Group::plan(layout, &name, &["cpu", "memory", "pids"]) {
        Ok(group) => group,
        Err(error) => {
            let fix = "compare with cat /proc/self/cgroup";
            return Check::fail(id, format!("{error:#}"), fix);
        }
    };
    if group.places.is_empty() {
        let fix = "fix a controller first: see above";
        return Check::fail(id, "no hierarchy has cpu, memory or pids", fix);
    }
    for place in &group.places {
        let outcome = attempt(&[Path::new("group"), &place.path]);
        let Some(error) = &outcome.error else { continue };
        // A child that was killed may have left it.
        let _ = std::fs::remove_dir(&place.path);
        let fix = match outcome.errno() {
            Some(Errno::EROFS) => {
                "inside a container: docker run --privileged; it is mounted read-only"
            }
            Some(Errno::EACCES | Errno::EPERM)
                if place.hierarchy.version == Version::V2 =>
            {
                DELEGATE
            }
            _ => "as root",
        };
        let text = format!("no cgroup can be created: {error}");
        return match rights::is_host_root().unwrap_or(false) {
            true => Check::fail(id, text, fix),
            false => Check::warn(id, text, fix),
        };
    }
    let first = &group.places[0];
    let whose =
        match (rights::is_host_root().unwrap_or(false), first.hierarchy.version) {
            (false, _) => "delegated to this user",
            (true, Version::V1) => "root's; v1 has none for ordinary users",
            (true, Version::V2) if Path::new("/run/systemd/system").is_dir() => {
                "root's; systemd delegates cgroups to ordinary users"
            }
            (true, Version::V2) => "root's; none is delegated to ordinary users",
        };
    let above = first.path.parent().unwrap_or(&first.path).display();
    Check::ok(id, format!("cgroups can be created in {above}: {whose}"))
}

const DELEGATE: &str = "with systemd, run the command by: systemd-run --user \
    --scope -p Delegate=yes; without systemd, run it as root";
