//! `cargo xtask faults`: after any fault in a run, the error is reported and
//! everything is undone. The faults are in tests/tests/faults; this file distributes
//! them to VMs and counts the results.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::build::build;
use crate::minimum;
use crate::part::Part;
use crate::test::report::{Report, Reports};
use crate::test::{lane, listed};
use crate::vm::accelerator::Choice;
use crate::vm::{Cgroup, qemu};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Run only the parts whose names contain one of these words, such as images
    /// [default: all]
    filter: Vec<String>,

    /// Run only a part of the tests, such as 2/4: the second of four parts
    #[arg(long, conflicts_with_all = ["filter", "only"])]
    part: Option<Part>,

    /// Inject only this fault, such as child:mount#3=ENOSPC or
    /// host:openat#7=kill-host
    #[arg(long, value_name = "FAULT")]
    only: Option<String>,

    /// Include equivalent faults: the same call from the same place, and kills
    /// between which nothing changed
    #[arg(long)]
    all: bool,

    /// Seed of the random kills
    #[arg(long, default_value_t = 1)]
    seed: u64,

    /// Number of runs that are killed at random
    #[arg(long, default_value_t = 1000)]
    runs: u64,

    /// Number of times that a container is run, killed at random and pruned; half as
    /// many times on a network
    #[arg(long, default_value_t = 100)]
    cycles: u64,

    /// The VM's kernel: a series such as 6.1 or 6.12, or a path
    #[arg(long, default_value = crate::test::PACKAGED[0])]
    kernel: String,

    /// Cgroup layout of the VM
    #[arg(long, default_value = "v2")]
    cgroup: Cgroup,

    /// Number of parallel VMs [default: number of CPUs]
    #[arg(long)]
    jobs: Option<usize>,
}

/// The module with the tests of the chapters. `.ci/run` also runs it with other
/// kernels.
const CHAPTERS: &str = "chapters::";

impl Args {
    /// Whether all parts run; with another than the usual kernel or layout, whether
    /// all tests of the chapters run.
    fn is_whole(&self) -> bool {
        let usual =
            self.kernel == crate::test::PACKAGED[0] && self.cgroup == Cgroup::V2;
        let chapters = self.filter.iter().map(String::as_str).eq([CHAPTERS]);
        let whole = if usual { self.filter.is_empty() } else { chapters };
        whole
            && self.only.is_none()
            && crate::test::PACKAGED.contains(&self.kernel.as_str())
            && self.cgroup != Cgroup::Hybrid
    }
}

/// The name of the lane in the file of minimums.
pub(crate) fn lane_name(kernel: &str, cgroup: impl std::fmt::Display) -> String {
    format!("faults {kernel} {cgroup}")
}

/// The test program.
const PROGRAM: &str = "faults";

/// The module of the test that `--only` runs.
const ONLY: &str = "only::";

/// The time limit of a part, in seconds.
const PART_TIMEOUT: u64 = 1200;

pub(crate) fn run(args: &Args) -> Result<()> {
    let qemu = qemu::find()?;
    let built = build(&[PROGRAM])?;
    let all = listed(&built, PROGRAM)?;
    let named = |name: &String| {
        args.filter.is_empty() || args.filter.iter().any(|word| name.contains(word))
    };
    let wanted = |name: &String| {
        name.starts_with(ONLY) == args.only.is_some()
            && (args.only.is_some() || named(name))
    };
    let mut tests: Vec<String> = all.into_iter().filter(wanted).collect();
    if let Some(part) = args.part {
        tests = part.of(tests);
    }
    if tests.is_empty() {
        bail!(
            "no part has such a name: expected images, each_call, random_kills, \
             run_kill_prune, run_kill_network, many_in_a_row or chapters"
        );
    }
    let accelerator = crate::set::accelerator(Choice::Auto, &qemu)?;
    let set =
        crate::set::make(&built, &qemu, &args.kernel, args.cgroup, accelerator)?;
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let jobs = args.jobs.unwrap_or(processors).clamp(1, tests.len());
    let mut environment = vec![
        ("MYDOCKER_SEED".to_owned(), args.seed.to_string()),
        ("MYDOCKER_RUNS".to_owned(), args.runs.to_string()),
        ("MYDOCKER_CYCLES".to_owned(), args.cycles.to_string()),
    ];
    environment.extend(args.all.then(|| ("MYDOCKER_ALL".into(), "1".into())));
    environment
        .extend(args.only.clone().map(|only| ("MYDOCKER_FAULT".into(), only)));
    let again = format!("cargo xtask faults --seed {}", args.seed);
    let how = lane::Suite {
        environment: &environment,
        again: Some(&again),
        jobs,
        ..lane::Suite::of(PROGRAM, PART_TIMEOUT)
    };
    eprintln!(
        "faults in a VM: {}; {jobs} VMs in parallel; the seed of the random kills is {}",
        set.describe(),
        args.seed
    );
    let mut reports = Reports::default();
    let begun = Instant::now();
    let ran = lane::run(&set, how, &tests, &mut reports);
    print_reports(reports.since(0), args.only.is_some(), begun.elapsed());
    ran?;
    if args.is_whole() {
        let (executed, skipped) = reports.executed(0);
        let lane = lane_name(&args.kernel, args.cgroup);
        minimum::check_part(&lane, args.part, executed, skipped)?;
    }
    if reports.failed() > 0 {
        bail!("{} parts failed", reports.failed());
    }
    // An exception that no fault needs any more must not stay in the list.
    let sums = sums(reports.since(0));
    let unused =
        sums.iter().find(|(key, sum)| **sum == 0 && key.contains("lived with"));
    match unused.filter(|_| args.filter.is_empty() && args.part.is_none()) {
        Some((key, _)) => {
            bail!("remove it from lived_with.rs, because no fault needs it: {key}")
        }
        None => Ok(()),
    }
}

/// The sums of the counts of all parts.
fn sums(reports: &[Report]) -> BTreeMap<String, u64> {
    let mut sums = BTreeMap::new();
    for line in reports.iter().flat_map(|report| report.output.lines()) {
        let mut fields = line.split('\t');
        if let (Some(PROGRAM), Some(key), Some(number)) =
            (fields.next(), fields.next(), fields.next())
        {
            let number: u64 = number.parse().unwrap_or(0);
            *sums.entry(key.to_owned()).or_default() += number;
        }
    }
    sums
}

fn print_reports(reports: &[Report], only: bool, took: Duration) {
    if only {
        reports.iter().for_each(|report| println!("{}", report.output.trim()));
        return;
    }
    println!();
    for (key, sum) in sums(reports) {
        println!("{sum:>7}  {key}");
    }
    println!("in {} s", took.as_secs());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test::judge::Verdict;

    #[test]
    fn the_counts_of_the_parts_are_added_up() {
        let report = |output: &str| Report {
            lane: String::new(),
            name: String::new(),
            verdict: Verdict::Passed,
            milliseconds: 0,
            output: output.to_owned(),
            kernel: String::new(),
            again: String::new(),
        };
        let reports = [
            report("running 1 test\n\nfaults\ta b\t2\n\nfaults\tc\t0\nok\n"),
            report("faults\ta b\t3\n"),
        ];
        let sums = sums(&reports);
        assert_eq!(
            sums.into_iter().collect::<Vec<_>>(),
            [("a b".to_owned(), 5), ("c".to_owned(), 0)]
        );
    }
}
