//! `list`, `show` and `stats`: what the kernel tells, as tables.

use std::fmt::Write;
use std::fs::read_to_string;

use anyhow::Result;
use common::step::Step;

use crate::group::Group;
use crate::layout::{Hierarchy, Layout, Version, memberships};

/// What v2 does in each group, without a controller.
const IN_EACH_GROUP: [&str; 3] = ["cpuacct", "freezer", "perf_event"];

/// All controllers that the kernel was built with.
///
/// # Errors
/// No cgroup file system is mounted.
/// # Source
/// cgroups(7), "/proc/cgroups"
pub fn list() -> Result<String> {
    let layout = Layout::find()?;
    let known = read_to_string("/proc/cgroups").look(|| "read(2) /proc/cgroups")?;
    let mut table = row(&[
        "CONTROLLER",
        "HIERARCHY",
        "GROUPS",
        "ENABLED",
        "VERSION",
        "MOUNTED AT",
    ]);
    for line in known.lines().filter(|line| !line.starts_with('#')) {
        let [name, hierarchy, groups, enabled] =
            line.split_whitespace().collect::<Vec<_>>()[..]
        else {
            continue;
        };
        let own = if name == "blkio" { "io" } else { name };
        let found = layout.of(name).or_else(|| layout.of(own)).or_else(|| {
            let v2 = |h: &&Hierarchy| h.version == Version::V2;
            let v2 = layout.hierarchies.iter().find(v2);
            v2.filter(|_| enabled == "1" && IN_EACH_GROUP.contains(&name))
        });
        let (version, mount) = match found {
            Some(found) => (text(found.version), found.mount.display().to_string()),
            None => ("-", "-".to_owned()),
        };
        let enabled = if enabled == "1" { "yes" } else { "no" };
        table += &row(&[name, hierarchy, groups, enabled, version, &mount]);
    }
    Ok(table)
}

fn text(version: Version) -> &'static str {
    match version {
        Version::V1 => "v1",
        Version::V2 => "v2",
    }
}

fn row(words: &[&str; 6]) -> String {
    let [a, b, c, d, e, f] = words;
    format!("{a:<12}{b:<11}{c:<8}{d:<9}{e:<9}{f}\n")
}

/// The groups of a process, one a hierarchy.
///
/// # Errors
/// There is no such process.
pub fn show(process: Option<u32>, explain: bool) -> Result<String> {
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
HIERARCHY    the number of a tree of groups, as in /proc/cgroups; v2's is 0
CONTROLLERS  what acts in that tree; name=X: none, somebody just keeps track;
             empty for v2, where cgroup.controllers of a group tells
GROUP        the process' group: a directory below the tree's mount point; / is
             the top group, where every process is until it is moved
";

/// One account of a group.
struct Account {
    name: &'static str,
    /// File and, where that has several, the word before the number; v1, then v2.
    sources: [(&'static str, &'static str); 2],
    /// v1 counts in so many of v2's.
    per: u64,
}

const fn account(
    name: &'static str,
    v1: (&'static str, &'static str),
    v2: (&'static str, &'static str),
) -> Account {
    Account { name, sources: [v1, v2], per: 1 }
}

const ACCOUNTS: [Account; 10] = [
    account("memory, bytes", ("memory.usage_in_bytes", ""), ("memory.current", "")),
    account(
        "most memory, bytes",
        ("memory.max_usage_in_bytes", ""),
        ("memory.peak", ""),
    ),
    account(
        "killed for memory",
        ("memory.oom_control", "oom_kill"),
        ("memory.events", "oom_kill"),
    ),
    Account {
        per: 1000,
        ..account(
            "processor time, us",
            ("cpuacct.usage", ""),
            ("cpu.stat", "usage_usec"),
        )
    },
    account(
        "periods throttled",
        ("cpu.stat", "nr_throttled"),
        ("cpu.stat", "nr_throttled"),
    ),
    account("processes", ("pids.current", ""), ("pids.current", "")),
    account("forks refused", ("pids.events", "max"), ("pids.events", "max")),
    account(
        "bytes read",
        ("blkio.throttle.io_service_bytes", "Read"),
        ("io.stat", "rbytes="),
    ),
    account(
        "bytes written",
        ("blkio.throttle.io_service_bytes", "Write"),
        ("io.stat", "wbytes="),
    ),
    account("frozen", ("freezer.state", "FROZEN"), ("cgroup.events", "frozen")),
];

/// The accounts of a group: what it uses, and how its limits were met.
///
/// # Errors
/// The group is gone.
pub fn stats(group: &Group) -> Result<String> {
    let mut table = format!("{:<20}{:<16}FILE\n", "ACCOUNT", "NUMBER");
    for Account { name, sources, per } in ACCOUNTS {
        for (index, (file, word)) in sources.into_iter().enumerate() {
            let Some(path) = group.find_file(file)? else { continue };
            let text = read_to_string(&path)
                .look(|| format!("read(2) {}", path.display()))?;
            let Some(number) = number(&text, word) else { continue };
            let number = if index == 0 { number / per } else { number };
            let _ = writeln!(table, "{name:<20}{number:<16}{file}");
            break;
        }
    }
    Ok(table)
}

/// The number in a file; with a word, the sum of those that follow it.
pub(crate) fn number(text: &str, word: &str) -> Option<u64> {
    if word.is_empty() {
        return text.trim().parse().ok();
    }
    if word == "FROZEN" {
        return Some(u64::from(text.trim() == word));
    }
    if let Some(key) = word.strip_suffix('=') {
        let words = text.split_whitespace().filter_map(|pair| pair.split_once('='));
        let numbers = words.filter(|(name, _)| *name == key);
        return Some(sum(numbers.filter_map(|(_, n)| n.parse().ok())));
    }
    let words: Vec<&str> = text.split_whitespace().collect();
    let pairs = words.windows(2).filter(|pair| pair[0] == word);
    let numbers: Vec<u64> = pairs.filter_map(|pair| pair[1].parse().ok()).collect();
    // v1's memory.oom_control began to count in Linux 4.13; a disk without traffic
    // has no line.
    let disks = word == "Read" || word == "Write";
    (disks || !numbers.is_empty()).then(|| sum(numbers.into_iter()))
}

/// Counters that ran for ages, or were never meant to be added, add up to the most
/// that there is.
fn sum(numbers: impl Iterator<Item = u64>) -> u64 {
    numbers.fold(0, u64::saturating_add)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_found_in_both_versions_files() {
        assert_eq!(number("4096\n", ""), Some(4096));
        assert_eq!(number("max\n", ""), None);
        let events = "low 0\nmax 3\noom 1\noom_kill 2\n";
        assert_eq!(number(events, "oom_kill"), Some(2));
        assert_eq!(number(events, "missing"), None);
        let io = "254:0 rbytes=10 wbytes=1 rios=9\n8:0 rbytes=32 wbytes=0\n";
        assert_eq!(number(io, "rbytes="), Some(42));
        let blkio = "8:0 Read 5\n8:0 Write 7\n8:0 Total 12\nTotal 12\n";
        assert_eq!(number(blkio, "Write"), Some(7));
        let most = format!("8:0 Read {}\n8:16 Read 1\n", u64::MAX);
        assert_eq!(number(&most, "Read"), Some(u64::MAX));
        assert_eq!(number("THAWED\n", "FROZEN"), Some(0));
    }
}
