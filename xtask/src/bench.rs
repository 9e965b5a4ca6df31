//! `cargo xtask bench`: what the chapters cost.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Subcommand;
use common::busybox;
use common::state::State;
use vm_init::{Event, How, Order};

use crate::build::build;
use crate::vm::accelerator::Choice;
use crate::vm::machine::{Machine, Word};
use crate::vm::{Cgroup, qemu};
use crate::{cargo, must, target};

#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Start containers: ch04-volume beside a straight line of the same calls
    Start {
        /// How often each, hot and cold
        #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u32).range(30..))]
        runs: u32,
    },
    /// Boot VMs: from nothing to a test's result, and what a test costs on top
    Vm {
        /// How many boots of each kernel
        #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..))]
        runs: u32,

        /// The kernels
        #[arg(long, value_delimiter = ',', default_value = "6.1,6.12")]
        kernel: Vec<String>,

        /// Who runs the instructions
        #[arg(long, default_value = "auto")]
        accel: Choice,
    },
}

pub(crate) fn run(args: Args) -> Result<()> {
    match args.what {
        What::Start { runs } => start(runs),
        What::Vm { runs, kernel, accel } => vm(runs, &kernel, accel),
    }
}

/// Tests in one VM, to see what one costs.
const TESTS: u32 = 10;

fn vm(runs: u32, kernels: &[String], choice: Choice) -> Result<()> {
    let built = build(Some("misbehaving"))?;
    let qemu = qemu::find()?;
    let accelerator = crate::set::accelerator(choice, &qemu)?;
    println!("ms, medians of {runs}; in brackets the fastest and the slowest");
    for wanted in kernels {
        let begun = Instant::now();
        let set = crate::set::make(&built, &qemu, wanted, Cgroup::V2, accelerator)?;
        let packed = begun.elapsed();
        let files = [Some(&set.medium.initramfs), set.medium.disk.as_ref()];
        let mut size = 0.0;
        for file in files.into_iter().flatten() {
            size += fs::metadata(file)?.len() as f64 / 1e6;
        }
        println!("{}", set.describe());
        let (mut ready, mut first, mut each) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..runs {
            let begun = Instant::now();
            let mut vm = set.boot()?;
            ready.push(vm.boot.as_secs_f64() * 1000.0);
            one_test(&mut vm)?;
            first.push(begun.elapsed().as_secs_f64() * 1000.0);
            let begun = Instant::now();
            let mut own = 0;
            for _ in 0..TESTS {
                own += one_test(&mut vm)?;
            }
            let all = begun.elapsed().as_secs_f64() * 1000.0;
            each.push((all - own as f64) / f64::from(TESTS));
            vm.finish(TESTS + 1)?;
        }
        for (name, times) in [
            ("process 1 is ready", ready),
            ("the first test's result", first),
            ("the runner's cost of a test", each),
        ] {
            println!("  {name:<30}{}", spread(times));
        }
        let packed = packed.as_secs_f64() * 1000.0;
        println!("  packing {size:.0} MB, kernel found  {packed:>8.0}");
    }
    Ok(())
}

/// Run a test that does nothing; how long it took by process 1's clock.
fn one_test(vm: &mut Machine) -> Result<u64> {
    let (program, name) = ("misbehaving".into(), "behaves".into());
    vm.order(&Order::Test { program, name, seconds: 60, ticket: 1 })?;
    loop {
        match vm.next(Duration::from_secs(80)) {
            Word::Bytes(..) => {}
            Word::Event(Event::Ended {
                how: How::Code(0), milliseconds, ..
            }) => {
                return Ok(milliseconds);
            }
            word => bail!("a test that does nothing: {word:?}"),
        }
    }
}

/// The median, the fastest and the slowest.
fn spread(mut times: Vec<f64>) -> String {
    times.sort_by(f64::total_cmp);
    let (fastest, slowest) = (times[0], times[times.len() - 1]);
    format!("{:>8.0}  ({fastest:.0} to {slowest:.0})", times[times.len() / 2])
}

fn start(runs: u32) -> Result<()> {
    if !common::rights::privileged() {
        bail!(
            "the straight line makes its container as root only: run it with sudo"
        );
    }
    let build = ["build", "--release", "--quiet"];
    must(cargo().args(build).args(["--package", "ch04-volume"]))?;
    let example = ["--package", "common", "--example", "straight_line"];
    must(cargo().args(build).args(example))?;
    let release = target().join("release");
    let state = target().join("bench-state");
    busybox::image(&State::at(&state))?;
    let command = |path: PathBuf, words: &[&str]| {
        let mut command = Command::new(path);
        command.args(words).env("MYDOCKER_ROOT", &state).stdin(Stdio::null());
        command
    };
    let mut ours = command(release.join("ch04-volume"), &["run", "true"]);
    let mut line = command(release.join("examples/straight_line"), &[]);

    // The first run makes the directories that all later ones find.
    must(&mut ours)?;
    same_calls(&ours, &line)?;
    println!("whole process, ms, median of {runs}; the two in turn");
    println!("{:<28}{:>8}{:>8}", "", "cold", "hot");
    let idle = [Duration::from_millis(30), Duration::ZERO];
    let columns = idle.map(|idle| interleaved(&mut ours, &mut line, runs, idle));
    let [cold, hot] = columns;
    let (cold, hot) = (cold?, hot?);
    for (row, name) in ["ch04-volume run true", "straight line"].iter().enumerate() {
        println!("{name:<28}{:>8.2}{:>8.2}", cold.medians[row], hot.medians[row]);
    }
    println!(
        "{:<28}{:>8.3}{:>8.3}",
        "ratio, median of pairs", cold.ratio, hot.ratio
    );
    println!("cold: 30 ms idle before each; hot: none");
    let sleeping = command(release.join("ch04-volume"), &["run", "sleep", "1000"]);
    println!(
        "host side while it runs: {} KiB private dirty",
        private_dirty(sleeping)?
    );
    Ok(())
}

struct Pair {
    medians: [f64; 2],
    ratio: f64,
}

/// Run both in turn, so that a machine that slows down slows both.
fn interleaved(
    one: &mut Command,
    two: &mut Command,
    runs: u32,
    idle: Duration,
) -> Result<Pair> {
    let once = |command: &mut Command| -> Result<f64> {
        sleep(idle);
        let start = Instant::now();
        must(command)?;
        Ok(start.elapsed().as_secs_f64() * 1e3)
    };
    let mut times = [Vec::new(), Vec::new()];
    let mut ratios = Vec::new();
    for round in 0..=runs {
        let (a, b) = (once(one)?, once(two)?);
        // The first pair warms the caches.
        if round > 0 {
            times[0].push(a);
            times[1].push(b);
            ratios.push(a / b);
        }
    }
    Ok(Pair { medians: times.map(median), ratio: median(ratios) })
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len() % 2 == 1 {
        values[middle]
    } else {
        (values[middle - 1] + values[middle]) / 2.0
    }
}

/// The comparison is fair as long as both make the same system calls.
fn same_calls(ours: &Command, line: &Command) -> Result<()> {
    if Command::new("strace").arg("-V").output().is_err() {
        println!(
            "no strace here: that both make the same system calls is not checked"
        );
        return Ok(());
    }
    let (ours, line) = (calls(ours)?, calls(line)?);
    if ours == line {
        let count: usize = ours.values().sum();
        println!("both make the same {count} system calls");
        return Ok(());
    }
    let names = ours.keys().chain(line.keys());
    let differs = |name: &&String| ours.get(*name) != line.get(*name);
    let mut different: Vec<&String> = names.filter(differs).collect();
    different.sort();
    different.dedup();
    bail!("the straight line is out of step; not the same number of: {different:?}")
}

/// How often each system call is made, both sides of the clone together.
fn calls(command: &Command) -> Result<BTreeMap<String, usize>> {
    let log = target().join("bench-strace");
    let mut strace = Command::new("strace");
    strace.args(["-f", "-o"]).arg(&log).arg(command.get_program());
    strace.args(command.get_args()).stdin(Stdio::null());
    strace.envs(command.get_envs().filter_map(|(k, v)| Some((k, v?))));
    must(&mut strace)?;
    let text = fs::read_to_string(&log).context("strace's log")?;
    fs::remove_file(&log)?;
    let mut calls = BTreeMap::new();
    for line in text.lines() {
        // PID NAME(ARGUMENTS…; what was interrupted goes on as <... NAME resumed>.
        let name = line.split_whitespace().nth(1).and_then(|w| w.split_once('('));
        if let Some((name, _)) = name {
            *calls.entry(name.to_owned()).or_default() += 1;
        }
    }
    Ok(calls)
}

/// Memory that the host side alone holds, in KiB.
fn private_dirty(mut command: Command) -> Result<u64> {
    let mut child = command.spawn()?;
    let path = Path::new("/proc").join(child.id().to_string()).join("smaps_rollup");
    // Its program must run: before, the child still shares its pages.
    sleep(Duration::from_millis(300));
    let text = fs::read_to_string(&path);
    child.kill()?;
    child.wait()?;
    let text = text.with_context(|| path.display().to_string())?;
    let line = text.lines().find_map(|line| line.strip_prefix("Private_Dirty:"));
    let number = line.and_then(|line| line.split_whitespace().next());
    number.and_then(|n| n.parse().ok()).context("no Private_Dirty in smaps_rollup")
}
