//! The flags for limits, and the files of cgroup v1 and v2 that they are written to.

use std::fs::{metadata, read_to_string};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use ch02_cgroups::{Group, Layout, Version, missing_file, top};
use clap::Args;
use common::read_whole;
use common::step::Step;
use nix::sys::stat::{major, minor};

use crate::values::{Cpus, Io, List, size};

/// Flags of this part.
#[derive(Args, Clone, Debug, Default)]
#[group(skip)]
pub struct Flags {
    /// Memory limit, without swap; a process that exceeds it is killed (512k, 100m,
    /// 1g)
    #[arg(short = 'm', long, value_name = "SIZE", value_parser = memory)]
    pub memory: Option<u64>,

    /// CPU weight relative to other groups, 2 to 262144 (usual: 1024)
    #[arg(
        long,
        value_name = "SHARES",
        value_parser = clap::value_parser!(u64).range(2..=262_144),
    )]
    pub cpushare: Option<u64>,

    /// CPUs that the container may use (0, 0-1, 0,2-3)
    #[arg(long, value_name = "LIST")]
    pub cpuset: Option<List>,

    /// CPU limit, in number of CPUs (0.5, 2)
    #[arg(long, value_name = "NUMBER")]
    pub cpus: Option<Cpus>,

    /// Maximum number of processes and threads
    #[arg(
        long,
        value_name = "NUMBER",
        value_parser = clap::value_parser!(u64).range(1..),
    )]
    pub pids: Option<u64>,

    /// Limit of a disk's traffic per second: rbps, wbps (bytes), riops, wiops
    /// (operations)
    ///
    /// Example: /dev/vda:rbps=1m,wiops=100. Repeat the flag for another disk.
    #[arg(long, value_name = "DISK:KEY=NUMBER[,...]")]
    pub io: Vec<Io>,

    /// Create a group without limits too, if possible, so that the container can be
    /// frozen.
    #[arg(skip)]
    pub freezable: bool,
}

/// With a lower limit, the kernel kills the child before its program starts.
const MINIMUM: u64 = 512 << 10;

fn memory(text: &str) -> Result<u64> {
    match size(text)? {
        bytes if bytes < MINIMUM => {
            bail!("{text} is too small to start a program: the minimum is 512k")
        }
        bytes => Ok(bytes),
    }
}

/// The files and values of one flag, for both versions.
struct Setting {
    flag: &'static str,
    /// The name of the controller in v1 and in v2.
    controller: [&'static str; 2],
    v1: Vec<(&'static str, String)>,
    v2: Vec<(&'static str, String)>,
    /// Files that some kernels do not have.
    optional: [&'static str; 2],
}

impl Flags {
    /// Whether there is no limit.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.memory.is_none()
            && self.cpushare.is_none()
            && self.cpuset.is_none()
            && self.cpus.is_none()
            && self.pids.is_none()
            && self.io.is_empty()
    }

    /// A group in the hierarchies of the controllers that these limits need. Nothing
    /// is created yet.
    ///
    /// # Errors
    /// A controller is not mounted, or a CPU or a disk does not exist.
    pub fn plan(&self, name: &str) -> Result<Group> {
        let layout = Layout::find()?;
        let mut controllers = Vec::new();
        for Setting { flag, controller, .. } in self.settings()? {
            let found = controller.into_iter().find(|c| layout.of(c).is_some());
            controllers.push(found.with_context(|| missing(flag, controller))?);
        }
        if let Some(list) = &self.cpuset {
            list.check(&layout)?;
        }
        if !self.freezable {
            return Group::plan(layout, name, &controllers);
        }
        // Every v2 group can be frozen.
        let freezer = layout.of("freezer").or_else(|| {
            layout.hierarchies.iter().find(|h| h.version == Version::V2)
        });
        let freezer = freezer.cloned();
        controllers.push("freezer");
        let mut group = Group::plan(layout, name, &controllers)?;
        if let Some(hierarchy) = freezer {
            group.add_hierarchy(hierarchy, name)?;
        }
        Ok(group)
    }

    /// Write the limits into the files of a group.
    ///
    /// # Errors
    /// The kernel refuses a value.
    pub fn set(&self, group: &Group) -> Result<()> {
        for setting in self.settings()? {
            let place = group.places.iter().find(|place| {
                let own = &place.hierarchy.controllers;
                own.iter().any(|c| setting.controller.contains(&c.as_str()))
            });
            let place = place
                .context("the group lacks a controller that it was planned with")?;
            let lines = match place.hierarchy.version {
                Version::V1 => &setting.v1,
                Version::V2 => &setting.v2,
            };
            for (file, value) in lines {
                if !place.set(file, value)? && !setting.optional.contains(file) {
                    bail!(missing_file(file));
                }
            }
        }
        Ok(())
    }

    // ANCHOR: settings
    /// The files, in the order in which they are written.
    ///
    /// # Source
    /// Documentation/admin-guide/cgroup-v1/ and cgroup-v2.rst
    fn settings(&self) -> Result<Vec<Setting>> {
        let mut all = Vec::new();
        let mut add = |flag, controller, v1, v2| {
            let optional = ["memory.memsw.limit_in_bytes", "memory.swap.max"];
            all.push(Setting { flag, controller, v1, v2, optional });
        };
        if let Some(bytes) = self.memory {
            // v1's second number is memory and swap together.
            let v1 = vec![
                ("memory.limit_in_bytes", bytes.to_string()),
                ("memory.memsw.limit_in_bytes", bytes.to_string()),
            ];
            let v2 = vec![
                ("memory.max", bytes.to_string()),
                ("memory.swap.max", "0".to_owned()),
            ];
            add("-m", ["memory"; 2], v1, v2);
        }
        if let Some(shares) = self.cpushare {
            let v1 = vec![("cpu.shares", shares.to_string())];
            let v2 = vec![("cpu.weight", weight(shares).to_string())];
            add("-cpushare", ["cpu"; 2], v1, v2);
        }
        if let Some(cpus) = &self.cpus {
            let (quota, period) = (cpus.quota(), Cpus::PERIOD);
            let v1 = vec![
                ("cpu.cfs_period_us", period.to_string()),
                ("cpu.cfs_quota_us", quota.to_string()),
            ];
            let v2 = vec![("cpu.max", format!("{quota} {period}"))];
            add("-cpus", ["cpu"; 2], v1, v2);
        }
        if let Some(list) = &self.cpuset {
            let lines = vec![("cpuset.cpus", list.to_string())];
            add("-cpuset", ["cpuset"; 2], lines.clone(), lines);
        }
        if let Some(number) = self.pids {
            let lines = vec![("pids.max", number.to_string())];
            add("-pids", ["pids"; 2], lines.clone(), lines);
        }
        for io in &self.io {
            let disk = device(&io.disk)?;
            let (mut v1, mut v2) = (Vec::new(), disk.clone());
            for (key, number) in &io.limits {
                v1.push((key.v1(), format!("{disk} {number}")));
                v2 += &format!(" {}={number}", key.v2());
            }
            add("-io", ["blkio", "io"], v1, vec![("io.max", v2)]);
        }
        Ok(all)
    }
    // ANCHOR_END: settings
}

// ANCHOR: weight
/// Convert v1's shares (2 to 262144) to v2's weight (1 to 10000), by the linear
/// formula of the OCI runtimes.
///
/// The usual 1024 shares become a weight of 39 instead of the usual 100. Containers
/// compete with each other as in v1, and get a little less than other processes.
#[must_use]
pub fn weight(shares: u64) -> u64 {
    1 + (shares.clamp(2, 262_144) - 2) * 9999 / 262_142
}
// ANCHOR_END: weight

fn missing(flag: &str, controller: [&str; 2]) -> String {
    let [v1, v2] = controller;
    format!(
        "{flag} needs the controller {v1}, which is not mounted: as root, use mount -t \
         cgroup -o {v1} none DIRECTORY (v1) or mount -t cgroup2 none DIRECTORY ({v2} \
         of v2); ch02-cgroups list shows what is mounted"
    )
}

/// `MAJOR:MINOR` of a disk.
fn device(path: &PathBuf) -> Result<String> {
    let meta =
        metadata(path).untraced(|| format!("-io: stat(2) {}", path.display()))?;
    if !meta.file_type().is_block_device() {
        bail!("-io: {} is not a block device: name a disk", path.display());
    }
    Ok(format!("{}:{}", major(meta.rdev()), minor(meta.rdev())))
}

impl List {
    /// The kernel accepts a CPU that does not exist; v2 then ignores the whole list.
    fn check(&self, layout: &Layout) -> Result<()> {
        let Some(hierarchy) = layout.of("cpuset") else { return Ok(()) };
        let file = match hierarchy.version {
            Version::V1 => "cpuset.effective_cpus",
            Version::V2 => "cpuset.cpus.effective",
        };
        let there = match read_whole::text(top(hierarchy)?.join(file)) {
            Ok(there) => there,
            // A delegated group may lack this file.
            Err(_) => read_to_string("/sys/devices/system/cpu/online")
                .untraced(|| "read(2) /sys/devices/system/cpu/online")?,
        };
        let known: List = there.trim().parse().context(there.clone())?;
        if let Some(number) =
            self.numbers().find(|n| !known.numbers().any(|k| k == *n))
        {
            bail!("-cpuset: CPU {number} does not exist: expected some of {known}");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_become_weights_by_the_formula_of_the_oci_runtimes() {
        for (shares, expected) in
            [(2, 1), (512, 20), (1024, 39), (2048, 79), (262_144, 10_000)]
        {
            assert_eq!(weight(shares), expected, "{shares}");
        }
        assert_eq!((weight(0), weight(u64::MAX)), (1, 10_000));
    }
}
