//! `cargo xtask power`: simulates a power failure at any write, and checks that
//! everything that was reported as created is complete.
//!
//! Killing a VM is not enough: the host keeps all writes of the VM's disk, flushed
//! or not. Therefore each write and each flush of the VM's disk is recorded in a
//! journal. From the journal, the program builds the disk as it could be after a
//! power failure: with everything that was flushed, and some of the rest.

use std::fs::File;
use std::path::Path;

use anyhow::{Result, bail};
use common::step::Step;
use vm_init::{How, Order, place};

use crate::build::build;
use crate::minimum;
use crate::session::relay_output;
use crate::vm::accelerator::Choice;
use crate::vm::{Cgroup, Disk, Set, qemu};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Number of rounds of commits, an import and removals
    #[arg(long, default_value_t = ROUNDS)]
    rounds: u64,

    /// Number of random moments, besides the moments after each step
    #[arg(long, default_value_t = POINTS)]
    points: u64,

    /// Seed of the random moments
    #[arg(long, default_value_t = 1)]
    seed: u64,

    /// The VM's kernel: a series such as 6.1 or 6.12, or a path
    #[arg(long, default_value = crate::test::PACKAGED[0])]
    kernel: String,
}

/// The default numbers of rounds and of random moments.
const ROUNDS: u64 = 6;
const POINTS: u64 = 40;

/// The program in the VM that creates and checks the images.
const PROGRAM: &str = "power";

/// The size of a disk in bytes: the filesystem, and a block for marks.
const BYTES: u64 = (24 << 20) + 4096;

pub(crate) fn run(args: &Args) -> Result<()> {
    let qemu = qemu::find()?;
    let built = build(&[PROGRAM])?;
    let accelerator = crate::set::accelerator(Choice::Auto, &qemu)?;
    let mut set =
        crate::set::make(&built, &qemu, &args.kernel, Cgroup::V2, accelerator)?;
    // A snapshot of a VM would include other disks.
    set.kept = false;
    let file = |name: &str| set.scratch.path().join(name);
    let [state, journal, scratch] = ["state", "journal", "scratch"].map(file);
    make(&state, BYTES)?;
    make(&journal, 0)?;
    make(&scratch, BYTES)?;
    let disk =
        |name, path: &Path| Disk { name, path: path.to_owned(), journal: None };
    let (rounds, points) = (args.rounds.to_string(), args.points.to_string());
    eprintln!(
        "power failures in a VM: {}; the seed is {}",
        set.describe(),
        args.seed
    );

    eprintln!("1 of 2: commands run, and each write of the disk is kept");
    set.disks =
        vec![Disk { journal: Some(journal.clone()), ..disk("state", &state) }];
    session(&set, &["work", &rounds])?;
    // The size of a disk must be a multiple of the sector size.
    let whole = journal.metadata().step(|| "stat(2) the journal")?.len();
    make(&journal, whole.next_multiple_of(4096))?;

    eprintln!("2 of 2: the state after a power failure at each moment is checked");
    set.disks = vec![disk("scratch", &scratch), disk("journal", &journal)];
    let said = session(&set, &["check", &rounds, &args.seed.to_string(), &points])?;
    match args.rounds == ROUNDS && args.points == POINTS {
        true => minimum::check("power", tried(&said), 0),
        false => Ok(()),
    }
}

fn make(path: &Path, bytes: u64) -> Result<()> {
    let step = || format!("write(2) {}", path.display());
    let mut options = File::options();
    let file =
        options.create(true).truncate(false).write(true).open(path).step(step)?;
    file.set_len(bytes).step(step)
}

/// The number of moments that the check has tried: the first number of its last
/// line.
fn tried(said: &str) -> usize {
    let last = said.lines().rfind(|line| !line.trim().is_empty());
    let number = last.and_then(|line| line.split(' ').next());
    number.and_then(|number| number.parse().ok()).unwrap_or(0)
}

/// Run the program in a VM with these disks; returns its output.
fn session(set: &Set, words: &[&str]) -> Result<String> {
    let program = format!("{}/{PROGRAM}", place::TESTS);
    let words = std::iter::once(program.as_str()).chain(words.iter().copied());
    let mut vm = set.boot()?;
    let words = words.map(Into::into).collect();
    vm.order(&Order::Session { words, terminal: None })?;
    let mut said = Vec::new();
    let how = relay_output(&mut vm, |bytes| said.extend(bytes))?;
    vm.finish(0)?;
    match how {
        How::Code(0) => Ok(String::from_utf8_lossy(&said).into_owned()),
        _ => bail!("an image is damaged, or the program that checks it failed"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_of_the_check_has_the_number_of_moments() {
        let said =
            "before write 3: x\n60 of 900 writes tried, 0 wrong; 5 images read\n";
        assert_eq!(tried(said), 60);
        assert_eq!(tried(""), 0);
    }
}
