//! `cargo xtask bench vm`: the time that the test VM costs.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use vm_init::{Event, How, Order};

use super::record::{Figure, Record};
use xtask::build::build;
use xtask::vm::accelerator::Choice;
use xtask::vm::machine::{Machine, Word};
use xtask::vm::{Cgroup, qemu};

/// The number of tests in one VM, to measure the cost of one test.
const TESTS: u32 = 10;

/// Boot VMs of these kernels, and run empty tests in them.
pub(super) fn vm(runs: u32, kernels: &[String], choice: Choice) -> Result<Record> {
    let built = build(&["misbehaving"])?;
    let qemu = qemu::find()?;
    let accelerator = xtask::set::accelerator(choice, &qemu)?;
    let mut figures = Vec::new();
    println!("medians of {runs} in ms; in brackets the fastest and the slowest");
    for wanted in kernels {
        let begun = Instant::now();
        let mut set =
            xtask::set::make(&built, &qemu, wanted, Cgroup::V2, accelerator)?;
        let packed = begun.elapsed();
        let files = [Some(&set.medium.initramfs), set.medium.disk.as_ref()];
        let mut size = 0.0;
        for file in files.into_iter().flatten() {
            // Holes do not occupy disk space.
            size += fs::metadata(file)?.blocks() as f64 * 512.0 / 1e6;
        }
        println!("{}", set.describe());
        let (mut ready, mut first, mut each) = (Vec::new(), Vec::new(), Vec::new());
        let mut restored = Vec::new();
        // This boot creates the snapshot.
        drop(set.boot()?);
        for _ in 0..runs {
            set.kept = true;
            let begun = Instant::now();
            let mut vm = set.boot()?;
            one_test(&mut vm)?;
            restored.push(begun.elapsed().as_secs_f64() * 1000.0);
            vm.finish(1)?;
            set.kept = false;
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
            ("the same, from a snapshot", restored),
            ("the runner's cost of a test", each),
        ] {
            let kernel = format!("Linux {wanted} by {}", accelerator.name());
            figures.push(Figure::of(&kernel, name, &times));
            println!("  {name:<30}{}", spread(times));
        }
        let packed = packed.as_secs_f64() * 1000.0;
        println!("  packing {size:.0} MB, kernel found  {packed:>8.0}");
    }
    let title = format!("The test VM, from nothing: {}", qemu.version);
    Ok(Record::new("vm", title, "ms", &xtask::vm::directory(), figures))
}

/// Run an empty test; returns its time according to PID 1.
fn one_test(vm: &mut Machine) -> Result<u64> {
    vm.order(&Order::Test(vm_init::Test {
        program: "misbehaving".into(),
        name: "behaves".into(),
        environment: Vec::new(),
        seconds: 60,
        ticket: 1,
        keep: false,
    }))?;
    loop {
        match vm.next(Duration::from_secs(80)) {
            Word::Bytes(..) => {}
            Word::Event(Event::Ended {
                how: How::Code(0), milliseconds, ..
            }) => {
                return Ok(milliseconds);
            }
            word => bail!("unexpected message for an empty test: {word:?}"),
        }
    }
}

/// The median, the fastest and the slowest.
fn spread(mut times: Vec<f64>) -> String {
    times.sort_by(f64::total_cmp);
    let (fastest, slowest) = (times[0], times[times.len() - 1]);
    format!("{:>8.0}  ({fastest:.0} to {slowest:.0})", times[times.len() / 2])
}
