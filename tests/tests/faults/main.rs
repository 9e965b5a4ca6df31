//! The fault lane, which `cargo xtask faults` runs in VMs: tests that need a run for each
//! system call, or thousands of runs.
//!
//! Every system call of a run of ch04-volume fails once with each plausible errno, and
//! the process is killed once before each. Commands of the chapters are stopped at each
//! system call. Runs of ch05-rm, and of ch06-ports on a network, are killed at random
//! moments and pruned. One container is entered very often.
#![allow(clippy::unwrap_used, reason = "a panic fails the test")]

mod chapters;
mod connected;
mod cycles;
mod every_fault;
mod ground;
mod images;
mod lived_with;
mod random;
mod row;
mod table;
mod trial;

use every_fault::{all, named};

/// One test for each part, so that all VMs have work.
macro_rules! parts {
    ($of:literal: $($name:ident $part:literal),*) => {
        $(#[test]
        fn $name() {
            all($part, $of);
        })*
    };
}

mod each_call {
    use super::*;

    parts!(16:
        part_00 0, part_01 1, part_02 2, part_03 3, part_04 4, part_05 5, part_06 6,
        part_07 7, part_08 8, part_09 9, part_10 10, part_11 11, part_12 12,
        part_13 13, part_14 14, part_15 15);
}

mod random_kills {
    use super::random::part;

    #[test]
    fn part_0() {
        part(0);
    }

    #[test]
    fn part_1() {
        part(1);
    }

    #[test]
    fn part_2() {
        part(2);
    }

    #[test]
    fn part_3() {
        part(3);
    }
}

mod run_kill_prune {
    use super::cycles::part;

    #[test]
    fn part_0() {
        part(0);
    }

    #[test]
    fn part_1() {
        part(1);
    }
}

mod run_kill_network {
    #[test]
    fn cycles() {
        super::connected::cycles();
    }
}

mod many_in_a_row {
    #[test]
    fn exec_works_five_hundred_times() {
        super::row::exec(500);
    }
}

mod only {
    /// For `cargo xtask faults --only FAULT`, which sets the variable.
    #[test]
    fn the_requested_fault() {
        super::named(&std::env::var("MYDOCKER_FAULT").expect("MYDOCKER_FAULT"));
    }
}

/// A line for the report, which adds the numbers of all parts.
fn count(key: &str, number: usize) {
    use std::io::Write;
    // Write directly: the test harness hides the output of a passed test.
    let mut out = std::io::stdout();
    writeln!(out, "\nfaults\t{key}\t{number}").unwrap();
}
