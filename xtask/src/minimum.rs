//! The minimum number of tests that each lane executes. A lane that loses its tests
//! must not look like a lane that passes.

use std::collections::BTreeMap;
use std::fs;

use anyhow::{Context, Result, bail};
use common::step::Step;

use crate::checkout::root;
use crate::part::Part;

/// The file with the minimum of each lane.
const FILE: &str = "tests/minimum.toml";

/// The name of a VM's lane, such as `vm 6.1 v2`.
pub(crate) fn vm(kernel: &str, cgroup: impl std::fmt::Display) -> String {
    format!("vm {kernel} {cgroup}")
}

/// The name of the same lane with `--machine-dependent`.
pub(crate) fn part(kernel: &str, cgroup: impl std::fmt::Display) -> String {
    format!("{} machine-dependent", vm(kernel, cgroup))
}

/// The name of the lane that tests network topologies in a VM, such as `networks
/// 6.1`.
pub(crate) fn networks(kernel: &str) -> String {
    format!("networks {kernel}")
}

/// The name of the lane with systemd in a VM, such as `systemd 6.1`.
pub(crate) fn systemd(kernel: &str) -> String {
    format!("systemd {kernel}")
}

/// Print how many tests a whole lane has executed and skipped, and compare.
///
/// # Errors
/// The lane executed fewer tests than its minimum, or it has no minimum.
pub(crate) fn check(lane: &str, executed: usize, skipped: usize) -> Result<()> {
    check_part(lane, None, executed, skipped)
}

/// Like [`check`], for a part of a lane.
///
/// # Errors
/// The part executed fewer tests than its minimum, or the lane has no minimum.
pub(crate) fn check_part(
    lane: &str,
    part: Option<Part>,
    executed: usize,
    skipped: usize,
) -> Result<()> {
    let file = root().join(FILE);
    let text =
        fs::read_to_string(&file).step(|| format!("read(2) {}", file.display()))?;
    let minimum = parse(&text)?.get(lane).copied();
    let minimum =
        minimum.map(|whole| part.map_or(whole, |part| part.minimum(whole)));
    println!("{}", line(lane, executed, skipped, minimum));
    compare(lane, executed, minimum)
}

fn parse(text: &str) -> Result<BTreeMap<String, usize>> {
    toml::from_str(text).context(FILE)
}

fn line(
    lane: &str,
    executed: usize,
    skipped: usize,
    minimum: Option<usize>,
) -> String {
    let minimum =
        minimum.map_or_else(|| "none".to_owned(), |number| number.to_string());
    format!(
        "lane {lane}: {executed} tests executed, {skipped} skipped; the minimum is \
         {minimum}"
    )
}

fn compare(lane: &str, executed: usize, minimum: Option<usize>) -> Result<()> {
    match minimum {
        Some(minimum) if executed >= minimum => Ok(()),
        Some(minimum) => bail!(
            "lane {lane}: {executed} tests were executed, and {FILE} requires {minimum}: \
             find the tests that are missing, or lower the number if they were removed"
        ),
        None => bail!("lane {lane} has no number in {FILE}: add {executed}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lane_with_fewer_tests_than_its_minimum_fails() {
        assert!(compare("unit", 5, Some(5)).is_ok());
        let error = compare("unit", 4, Some(5)).unwrap_err().to_string();
        assert!(error.contains("4 tests were executed"), "{error}");
        assert!(error.contains("requires 5"), "{error}");
        let error = compare("new", 4, None).unwrap_err().to_string();
        assert!(error.contains("lane new has no number"), "{error}");
    }

    #[test]
    fn each_lane_of_ci_has_a_minimum() {
        let text = fs::read_to_string(root().join(FILE)).unwrap();
        let numbers = parse(&text).unwrap();
        let mut lanes: Vec<String> = crate::lane::NAMES.map(str::to_owned).to_vec();
        for (kernel, cgroup) in [("6.1", "v2"), ("6.1", "v1"), ("6.12", "v2")] {
            lanes.push(vm(kernel, cgroup));
            lanes.push(crate::faults::lane_name(kernel, cgroup));
        }
        lanes.extend([part("6.1", "v1"), part("6.12", "v2")]);
        let others = ["book", "here", "power", "mutants", "exercises", "solutions"];
        lanes.extend(others.map(str::to_owned));
        lanes.extend(["6.1", "6.12", "here"].map(networks));
        lanes.push(systemd("6.1"));
        for lane in lanes {
            assert!(numbers.get(&lane).is_some_and(|number| *number > 0), "{lane}");
        }
    }
}
