//! `cargo xtask bench vm`: what the test VM costs.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use vm_init::{Event, How, Order};

use crate::build::build;
use crate::vm::accelerator::Choice;
use crate::vm::machine::{Machine, Word};
use crate::vm::{Cgroup, qemu};

/// Tests in one VM, to see what one costs.
const TESTS: u32 = 10;

/// Boot VMs of these kernels, and run tests in them that do nothing.
pub(super) fn vm(runs: u32, kernels: &[String], choice: Choice) -> Result<()> {
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
    let environment = Vec::new();
    vm.order(&Order::Test { program, name, environment, seconds: 60, ticket: 1 })?;
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
