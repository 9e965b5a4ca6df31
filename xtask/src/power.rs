//! `cargo xtask power`: the power fails at any write, and what was reported as made is
//! whole.
//!
//! A VM that is killed shows little of it: what its disk has been told the host keeps,
//! flushed or not. So each write of the VM's disk and each flush goes to a journal. From
//! that the disk is built as it could be after a power failure: what was flushed, and
//! some of the rest.

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
    /// How many rounds of commits, an import and removals there are
    #[arg(long, default_value_t = ROUNDS)]
    rounds: u64,

    /// How many moments are tried beside those right after a step
    #[arg(long, default_value_t = POINTS)]
    points: u64,

    /// Where the random moments begin
    #[arg(long, default_value_t = 1)]
    seed: u64,

    /// The VM's kernel: a series such as 6.1 or 6.12, or a path
    #[arg(long, default_value = crate::test::PACKAGED[0])]
    kernel: String,
}

/// The usual numbers of rounds and of random moments.
const ROUNDS: u64 = 6;
const POINTS: u64 = 40;

/// The program that works and checks, in the VM.
const PROGRAM: &str = "power";

/// A disk's bytes: those of the file system, and a block for marks.
const BYTES: u64 = (24 << 20) + 4096;

pub(crate) fn run(args: &Args) -> Result<()> {
    let qemu = qemu::find()?;
    let built = build(&[PROGRAM])?;
    let accelerator = crate::set::accelerator(Choice::Auto, &qemu)?;
    let mut set =
        crate::set::make(&built, &qemu, &args.kernel, Cgroup::V2, accelerator)?;
    // What a snapshot has for disks is not what is needed here.
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

    set.disks =
        vec![Disk { journal: Some(journal.clone()), ..disk("state", &state) }];
    session(&set, &["work", &rounds])?;
    // A disk ends with a whole sector.
    let whole = journal.metadata().step(|| "stat(2) the journal")?.len();
    make(&journal, whole.next_multiple_of(4096))?;

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

/// How many moments the check says that it has tried: the first number of its last line.
fn tried(said: &str) -> usize {
    let last = said.lines().rfind(|line| !line.trim().is_empty());
    let number = last.and_then(|line| line.split(' ').next());
    number.and_then(|number| number.parse().ok()).unwrap_or(0)
}

/// Run the program in a VM with these disks; what it printed.
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
        _ => bail!("an image did not survive, or the program that looks for it"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checks_last_line_tells_how_many_moments_were_tried() {
        let said =
            "before write 3: x\n60 of 900 writes tried, 0 wrong; 5 images read\n";
        assert_eq!(tried(said), 60);
        assert_eq!(tried(""), 0);
    }
}
