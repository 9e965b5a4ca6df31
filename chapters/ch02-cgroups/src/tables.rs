//! The tables that `list`, `show` and `stats` print.

use std::fmt::Write;

use crate::{Group, Layout, Version, controllers, memberships, statistics};
use anyhow::Result;

/// All controllers: a line each, with the mount point of its hierarchy.
pub(crate) fn list() -> Result<String> {
    let row = |[a, b, c, d, e, f]: [&str; 6]| {
        format!("{a:<12}{b:<11}{c:<8}{d:<9}{e:<9}{f}\n")
    };
    let mut table = row([
        "CONTROLLER",
        "HIERARCHY",
        "GROUPS",
        "ENABLED",
        "VERSION",
        "MOUNTED AT",
    ]);
    for known in controllers(&Layout::find()?)? {
        let (version, mount) = match &known.mounted {
            Some(found) => {
                let v1 = found.version == Version::V1;
                let version = if v1 { "v1" } else { "v2" };
                (version, found.mount.display().to_string())
            }
            None => ("-", "-".to_owned()),
        };
        let enabled = if known.enabled { "yes" } else { "no" };
        table +=
            &row([&known.name, &known.id, &known.groups, enabled, version, &mount]);
    }
    Ok(table)
}

/// The groups of a process, a line for each hierarchy.
pub(crate) fn show(process: Option<u32>, explain: bool) -> Result<String> {
    let process = process.map_or("self".to_owned(), |number| number.to_string());
    let mut table = format!("{:<11}{:<20}GROUP\n", "HIERARCHY", "CONTROLLERS");
    for own in memberships(&process)? {
        let controllers = match own.controllers.as_str() {
            "" => "(all of v2)",
            controllers => controllers,
        };
        let _ = writeln!(
            table,
            "{:<11}{controllers:<20}{}",
            own.number,
            own.group.display()
        );
    }
    if explain {
        table += EXPLANATION;
    }
    Ok(table)
}

const EXPLANATION: &str = "
A line of /proc/PID/cgroup has three fields, with colons between them:
HIERARCHY    the ID of a hierarchy, as in /proc/cgroups; 0 for v2
CONTROLLERS  the controllers of that hierarchy; name=X if it has none and only keeps
             track of processes; empty for v2, where cgroup.controllers lists them
GROUP        the group of the process: a directory below the hierarchy's mount point;
             / is the root group, which holds every process until it is moved
";

/// The statistics of a group, a line each.
pub(crate) fn stats(group: &Group) -> Result<String> {
    let mut table = format!("{:<20}{:<16}FILE\n", "ACCOUNT", "NUMBER");
    for statistic in statistics(group)? {
        let _ = writeln!(
            table,
            "{:<20}{:<16}{}",
            statistic.name, statistic.number, statistic.file
        );
    }
    Ok(table)
}
