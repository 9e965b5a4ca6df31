//! `cargo xtask bench build`: the time to build the main job.

use std::collections::BTreeSet;
use std::fs::File;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant, SystemTime};

use anyhow::Result;
use common::state::remove_tree;
use common::step::Step;
use nix::sys::resource::{Usage, UsageWho, getrusage};
use nix::sys::time::TimeVal;
use provision::command::run;

use super::measure::median;
use super::record::{Figure, Record};
use xtask::checkout::{root, target};
use xtask::command::{cargo, must};
use xtask::vm::scratch::Scratch;

/// The targets: seconds of processor time for a cold build, seconds of elapsed time
/// after a touch, number of packages.
const COLD: f64 = 25.0;
const TOUCHED: f64 = 2.0;
const PACKAGES: usize = 60;

const CHAPTER: &str = "ch04-volume";

/// Build it `runs` times from scratch, in a temporary build directory, and after
/// touching its own library.
///
/// # Errors
/// cargo fails. A missed target is not an error.
pub(super) fn build(runs: u32) -> Result<Record> {
    // Download the dependencies before measuring.
    must(cargo().args(["fetch", "--quiet", "--locked"]))?;
    let packages = packages()?;
    let touch =
        Touch::new(&root().join("chapters").join(CHAPTER).join("src/lib.rs"))?;
    let scratch = Scratch::new(&target().join("bench-build"))?;
    let build = scratch.path().join("target");
    let mut times: [Vec<f64>; 4] = Default::default();
    for _ in 0..runs {
        remove_tree(&build)?;
        let (cpu, clock) = timed(&build)?;
        times[0].push(cpu);
        times[1].push(clock);
        touch.now()?;
        let (cpu, clock) = timed(&build)?;
        times[2].push(cpu);
        times[3].push(clock);
    }
    drop(touch);
    let kinds = [
        ("cold", "processor", Some(COLD)),
        ("cold", "clock", None),
        ("after a touch", "processor", None),
        ("after a touch", "clock", Some(TOUCHED)),
    ];
    println!("cargo build -p {CHAPTER}: s, medians of {runs}");
    let mut figures = Vec::new();
    for ((group, name, aim), times) in kinds.into_iter().zip(&times) {
        let judged = match aim {
            None => String::new(),
            Some(aim) if median(times) <= aim => format!("  aim <= {aim}, met"),
            Some(aim) => format!("  aim <= {aim}, not"),
        };
        println!("  {group:<14}{name:<10}{:>7.2}{judged}", median(times));
        figures.push(Figure::of(group, name, times).aimed(aim));
    }
    let met = if packages < PACKAGES { "met" } else { "not" };
    println!(
        "  {packages} packages, its own chapters included  aim < {PACKAGES}, {met}"
    );
    let title = format!("cargo build -p {CHAPTER}: {packages} packages");
    Ok(Record::new("build", title, "s", &build, figures))
}

/// Processor time and elapsed time of one build, in seconds.
fn timed(build: &Path) -> Result<(f64, f64)> {
    let before = children()?;
    let begun = Instant::now();
    let words = ["build", "--quiet", "--locked", "--package", CHAPTER];
    must(cargo().args(words).env("CARGO_TARGET_DIR", build))?;
    let clock = begun.elapsed().as_secs_f64();
    Ok((children()? - before, clock))
}

/// The processor time of all ended children and their descendants.
///
/// # Source
/// getrusage(2), "RUSAGE_CHILDREN"
fn children() -> Result<f64> {
    let usage: Usage =
        getrusage(UsageWho::RUSAGE_CHILDREN).step(|| "getrusage(2)")?;
    let seconds = |time: TimeVal| time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6;
    Ok(seconds(usage.user_time()) + seconds(usage.system_time()))
}

/// A file whose modification time is changed, and restored at the end, because the
/// benchmark must not change the checkout.
struct Touch {
    file: File,
    before: SystemTime,
}

impl Touch {
    fn new(path: &Path) -> Result<Touch> {
        let file = File::options().append(true).open(path);
        let file = file.step(|| format!("open(2) {}", path.display()))?;
        let before = file.metadata().and_then(|meta| meta.modified());
        Ok(Touch { file, before: before.step(|| "fstat(2)")? })
    }

    fn now(&self) -> Result<()> {
        self.file.set_modified(SystemTime::now()).step(|| "futimens(2)")
    }
}

impl Drop for Touch {
    fn drop(&mut self) {
        let _ = self.file.set_modified(self.before);
    }
}

/// The number of packages that are built for it.
fn packages() -> Result<usize> {
    let mut tree: Command = cargo();
    tree.args(["tree", "--locked", "--package", CHAPTER, "--edges", "normal,build"]);
    tree.args(["--prefix", "none", "--format", "{p}"]);
    let said = run(&mut tree, Duration::from_secs(60))?;
    let text = String::from_utf8_lossy(&said.out).into_owned();
    let names = text.lines().map(|line| line.trim_end_matches(" (*)"));
    Ok(names.filter(|name| !name.is_empty()).collect::<BTreeSet<_>>().len())
}
