//! The figures and the machine, for other programs and for the plot.

use std::fs;
use std::os::linux::fs::MetadataExt;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use common::step::Step;
use nix::sys::stat::{major, minor};
use nix::sys::statfs::statfs;
use provision::command::run;
use serde::{Deserialize, Serialize};
use std::time::Duration;

use super::measure::median;
use xtask::checkout::root;

/// The format version of the file.
const FORMAT: u32 = 1;

/// One run of a benchmark.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Record {
    format: u32,
    /// Which benchmark: `start`, `life`, `vm` or `build`.
    pub(crate) bench: String,
    /// The title.
    pub(crate) title: String,
    pub(crate) unit: String,
    /// The date in UTC: `2026-01-31`.
    pub(crate) date: String,
    pub(crate) machine: Machine,
    pub(crate) figures: Vec<Figure>,
}

/// A median.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Figure {
    /// The group of figures that are compared with each other, such as `cold`.
    pub(crate) group: String,
    pub(crate) name: String,
    pub(crate) median: f64,
    pub(crate) fastest: f64,
    pub(crate) slowest: f64,
    pub(crate) runs: usize,
    /// Our value divided by this one: the median of the ratios of all rounds.
    pub(crate) ratio: Option<f64>,
    /// The target: of the ratio if there is one, otherwise of the median.
    pub(crate) aim: Option<f64>,
    /// The unit, if it differs from the record's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) unit: Option<String>,
}

impl Figure {
    pub(crate) fn of(group: &str, name: &str, values: &[f64]) -> Figure {
        Figure {
            group: group.to_owned(),
            name: name.to_owned(),
            median: median(values),
            fastest: values.iter().copied().fold(f64::INFINITY, f64::min),
            slowest: values.iter().copied().fold(0.0, f64::max),
            runs: values.len(),
            ratio: None,
            aim: None,
            unit: None,
        }
    }

    pub(crate) fn aimed(mut self, aim: Option<f64>) -> Figure {
        self.aim = aim;
        self
    }

    pub(crate) fn ratio(mut self, ratio: f64) -> Figure {
        self.ratio = Some(ratio);
        self
    }
}

/// The machine, without its hostname.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Machine {
    pub(crate) processor: String,
    pub(crate) processors: usize,
    /// In MiB.
    pub(crate) memory: u64,
    pub(crate) kernel: String,
    /// The filesystem of the state directory, or of the build directory if there is
    /// none.
    pub(crate) file_system: String,
    /// The commit of the checkout; with `-dirty` if it was changed.
    pub(crate) commit: String,
}

impl Machine {
    fn here(place: &Path) -> Machine {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let model = field(&read("/proc/cpuinfo"), "model name");
        let memory = field(&read("/proc/meminfo"), "MemTotal");
        let memory =
            memory.split_whitespace().next().and_then(|kib| kib.parse().ok());
        let count = std::thread::available_parallelism();
        Machine {
            processor: if model.is_empty() { "unknown".into() } else { model },
            processors: count.map_or(1, usize::from),
            memory: memory.unwrap_or(0_u64) / 1024,
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            file_system: file_system(place),
            commit: commit().unwrap_or_else(|_| "unknown".into()),
        }
    }
}

/// The value of the first line `NAME : VALUE`.
fn field(text: &str, name: &str) -> String {
    let mut lines = text.lines().filter_map(|line| line.split_once(':'));
    let found = lines.find(|(key, _)| key.trim() == name);
    found.map(|(_, value)| value.trim().to_owned()).unwrap_or_default()
}

/// The type of the filesystem at a path, or at its nearest existing parent.
///
/// # Source
/// statfs(2), "f_type"
pub(super) fn file_system(place: &Path) -> String {
    let there = place.ancestors().find(|path| path.exists());
    let kind = there.and_then(|path| statfs(path).ok());
    let kind = kind.map(|about| about.filesystem_type().0 as u64);
    match kind {
        Some(0xef53) if there.is_some_and(has_no_journal) => {
            "ext4 without a journal".into()
        }
        Some(0xef53) => "ext4".into(),
        Some(0x0102_1994) => "tmpfs".into(),
        Some(0x9123_683e) => "btrfs".into(),
        Some(0x5846_5342) => "xfs".into(),
        Some(0x794c_7630) => "overlay".into(),
        Some(0x2fc1_2fc1) => "zfs".into(),
        Some(other) => format!("{other:#x}"),
        None => "unknown".into(),
    }
}

/// # Source
/// The kernel's Documentation/ABI/testing/sysfs-fs-ext4, "journal_task"
fn has_no_journal(path: &Path) -> bool {
    let Ok(about) = fs::metadata(path) else { return false };
    let device = about.st_dev();
    let (major, minor) = (major(device), minor(device));
    let device = fs::read_link(format!("/sys/dev/block/{major}:{minor}"));
    let device = device.unwrap_or_default();
    let Some(name) = device.file_name() else { return false };
    let path = Path::new("/sys/fs/ext4").join(name).join("journal_task");
    fs::read_to_string(path).is_ok_and(|task| task.trim() == "<none>")
}

fn commit() -> Result<String> {
    let mut git = Command::new("git");
    git.current_dir(root()).args(["describe", "--always", "--dirty", "--abbrev=12"]);
    let said = run(&mut git, Duration::from_secs(20))?;
    Ok(String::from_utf8_lossy(&said.out).trim().to_owned())
}

impl Record {
    /// The record of this machine and date; `place` is the measured directory.
    pub(crate) fn new(
        bench: &str,
        title: String,
        unit: &str,
        place: &Path,
        figures: Vec<Figure>,
    ) -> Record {
        Record {
            format: FORMAT,
            bench: bench.to_owned(),
            title,
            unit: unit.to_owned(),
            date: xtask::date::today(),
            machine: Machine::here(place),
            figures,
        }
    }

    /// # Errors
    /// read(2) fails; the format is another one.
    pub(crate) fn read(path: &Path) -> Result<Record> {
        let shown = path.display();
        let text = fs::read(path).step(|| format!("read(2) {shown}"))?;
        let record: Record = serde_json::from_slice(&text)
            .with_context(|| format!("{shown} was not written by bench --json"))?;
        anyhow::ensure!(
            record.format == FORMAT,
            "{shown} has the format {}, but {FORMAT} is required: measure again",
            record.format
        );
        Ok(record)
    }

    /// # Errors
    /// write(2) fails.
    pub(crate) fn write(&self, path: &Path) -> Result<()> {
        let text = serde_json::to_string_pretty(self)? + "\n";
        fs::write(path, text).step(|| format!("write(2) {}", path.display()))
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    #[test]
    fn written_data_are_read_back_unchanged() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("record.json");
        let figures = vec![Figure::of("cold", "ours", &[3.0, 1.0, 2.0]).ratio(0.5)];
        let record = Record::new("start", "t".into(), "ms", dir.path(), figures);
        record.write(&path).unwrap();
        let again = Record::read(&path).unwrap();
        assert_eq!(again, record);
        let figure = &again.figures[0];
        let numbers = [figure.median, figure.fastest, figure.slowest];
        assert_eq!((numbers, figure.runs), ([2.0, 1.0, 3.0], 3));
        fs::write(&path, "{}").unwrap();
        let error = Record::read(&path).unwrap_err();
        assert!(format!("{error:#}").contains("not written by bench --json"));
    }

    #[test]
    fn the_first_field_of_that_name_is_taken() {
        let text = "model\t\t: 7\nmodel name\t: A: B\nmodel name\t: C\n";
        assert_eq!(field(text, "model name"), "A: B");
        assert_eq!(field(text, "none"), "");
    }
}
