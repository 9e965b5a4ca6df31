//! Accounting: what a group uses, and how often its limits were reached.

use std::fs::read_to_string;

use anyhow::Result;
use common::step::Step;

use crate::group::Group;

/// A number that the kernel keeps for a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Statistic {
    /// What is counted, and the unit.
    pub name: &'static str,
    /// The number.
    pub number: u64,
    /// The file that contains it.
    pub file: &'static str,
}

/// The source of a statistic: its file in each version.
struct Source {
    name: &'static str,
    /// The file of v1 and the file of v2, each with the key before the number if the
    /// file contains several numbers.
    files: [(&'static str, &'static str); 2],
    /// Units of v1 per unit of v2.
    per: u64,
}

const fn source(
    name: &'static str,
    v1: (&'static str, &'static str),
    v2: (&'static str, &'static str),
) -> Source {
    Source { name, files: [v1, v2], per: 1 }
}

const SOURCES: [Source; 10] = [
    source("memory, bytes", ("memory.usage_in_bytes", ""), ("memory.current", "")),
    source(
        "peak memory, bytes",
        ("memory.max_usage_in_bytes", ""),
        ("memory.peak", ""),
    ),
    source(
        "OOM kills",
        ("memory.oom_control", "oom_kill"),
        ("memory.events", "oom_kill"),
    ),
    Source {
        per: 1000,
        ..source(
            "processor time, us",
            ("cpuacct.usage", ""),
            ("cpu.stat", "usage_usec"),
        )
    },
    source(
        "periods throttled",
        ("cpu.stat", "nr_throttled"),
        ("cpu.stat", "nr_throttled"),
    ),
    source("processes", ("pids.current", ""), ("pids.current", "")),
    source("forks refused", ("pids.events", "max"), ("pids.events", "max")),
    source(
        "bytes read",
        ("blkio.throttle.io_service_bytes", "Read"),
        ("io.stat", "rbytes="),
    ),
    source(
        "bytes written",
        ("blkio.throttle.io_service_bytes", "Write"),
        ("io.stat", "wbytes="),
    ),
    source("frozen", ("freezer.state", "FROZEN"), ("cgroup.events", "frozen")),
];

/// The statistics of a group: what it uses now and has used, and how often a limit
/// was reached. A statistic is missing if the group lacks its controller.
///
/// # Errors
/// ENODEV if the group was removed.
pub fn statistics(group: &Group) -> Result<Vec<Statistic>> {
    let mut found = Vec::new();
    for Source { name, files, per } in SOURCES {
        for (index, (file, key)) in files.into_iter().enumerate() {
            let Some(path) = group.find_file(file)? else { continue };
            let text = read_to_string(&path)
                .untraced(|| format!("read(2) {}", path.display()))?;
            let Some(number) = number(&text, key) else { continue };
            let number = if index == 0 { number / per } else { number };
            found.push(Statistic { name, number, file });
            break;
        }
    }
    Ok(found)
}

/// The number in a file. With a key, the sum of the numbers after that key.
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
    // A counter can be missing: before Linux 4.13, v1's memory.oom_control has none.
    // The counters of a disk are an exception: a disk without traffic has no line,
    // which means 0.
    let disks = word == "Read" || word == "Write";
    (disks || !numbers.is_empty()).then(|| sum(numbers.into_iter()))
}

/// The sum, or the largest number if the sum is larger.
fn sum(numbers: impl Iterator<Item = u64>) -> u64 {
    numbers.fold(0, u64::saturating_add)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_from_files_of_both_cgroup_versions() {
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
