//! The machines that the tests run on: kernels and cgroup layouts.

use anyhow::{Result, bail};
use clap::ValueEnum;

use super::{Args, BOOK, PACKAGED};
use crate::vm::Cgroup;

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum Layout {
    /// Each controller in its own hierarchy
    V1,
    /// As v1, with an additional empty v2 hierarchy
    Hybrid,
    /// One hierarchy
    V2,
    /// All of them, one after the other
    All,
}

impl Layout {
    fn each(self) -> &'static [Cgroup] {
        match self {
            Layout::V1 => &[Cgroup::V1],
            Layout::Hybrid => &[Cgroup::Hybrid],
            Layout::V2 => &[Cgroup::V2],
            Layout::All => &[Cgroup::V1, Cgroup::Hybrid, Cgroup::V2],
        }
    }
}

/// A machine (kernel and cgroup layout), and its tests.
pub(super) type Lane = (String, Cgroup, Vec<String>);

/// The machines of the command line, and those that pages name. If a block of a page
/// names a machine, it runs only on that machine.
pub(super) fn machines(args: &Args, tests: &[String]) -> Result<Vec<Lane>> {
    let kernels = match args.kernel.as_deref() {
        None => vec![PACKAGED[0]],
        Some("all") => PACKAGED.to_vec(),
        Some(other) => vec![other],
    };
    let mut lanes: Vec<Lane> = Vec::new();
    for kernel in kernels {
        for cgroup in args.cgroup.unwrap_or(Layout::V2).each() {
            lanes.push((kernel.to_owned(), *cgroup, Vec::new()));
        }
    }
    let asked_for = lanes.len();
    for test in tests {
        let Some(machine) = named_machine(args, test)? else {
            lanes[..asked_for].iter_mut().for_each(|lane| lane.2.push(test.clone()));
            continue;
        };
        let same = |lane: &&mut Lane| lane.0 == machine.0 && lane.1 == machine.1;
        match lanes[asked_for..].iter_mut().find(same) {
            Some(lane) => lane.2.push(test.clone()),
            None => lanes.push((machine.0, machine.1, vec![test.clone()])),
        }
    }
    lanes.retain(|lane| !lane.2.is_empty());
    Ok(lanes)
}

/// The machine after a page's name: `book::not-so::6.12-v1`.
fn named_machine(args: &Args, test: &str) -> Result<Option<(String, Cgroup)>> {
    let Some(name) = test.split("::").nth(2).filter(|_| args.program == BOOK) else {
        return Ok(None);
    };
    let (kernel, cgroup) = name.rsplit_once('-').unwrap_or((name, ""));
    match Cgroup::from_str(cgroup, false) {
        Ok(cgroup) if PACKAGED.contains(&kernel) => {
            Ok(Some((kernel.to_owned(), cgroup)))
        }
        _ => bail!(
            "{test}: unknown machine {name}: expected {} with v1, hybrid or v2",
            PACKAGED.join(" or ")
        ),
    }
}
