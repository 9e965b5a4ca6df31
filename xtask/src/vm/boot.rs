//! From a set to a VM that runs: restored from a snapshot, or booted.

use anyhow::{Result, bail};
use common::step::report;

use super::accelerator::Accelerator;
use super::machine::Machine;
use super::rung::{Rung, ladder};
use super::{Set, say, snapshot};
use crate::mutex::lock;

/// Boot a VM, on the rung that stood last or on the first that stands.
///
/// # Errors
/// No rung stands: what each of them said.
pub(crate) fn boot(set: &Set) -> Result<Machine> {
    let known = lock(&set.rung).clone();
    let mut rungs = ladder(set);
    if let Some(known) = known {
        // One that has stood before gets a second chance.
        rungs = [&known, &known].into_iter().chain(&rungs).cloned().collect();
    }
    let mut tried = Vec::new();
    for rung in rungs {
        match up(set, &rung) {
            Ok(machine) => {
                if !tried.is_empty() {
                    say(&format!("up on {rung}; tried before:{}", tried.concat()));
                }
                let first = lock(&set.rung).replace(rung).is_none();
                if first && !machine.missing.is_empty() {
                    let missing = machine.missing.join(", ");
                    say(&format!("this kernel has no cgroup v1 {missing}"));
                }
                return Ok(machine);
            }
            Err(error) => tried.push(format!("\n  {rung}: {error:#}")),
        }
    }
    bail!(
        "no VM comes up with Linux {}; tried:{}\nhint: --kernel takes another \
         kernel; --here runs the tests on this machine, as root",
        set.kernel.release,
        tried.concat()
    )
}

/// One VM on this rung: restored, where that can be, else booted.
fn up(set: &Set, rung: &Rung) -> Result<Machine> {
    // The processor itself boots a kernel about as fast.
    let kept = set.kept
        && set.medium.disk.is_some()
        && rung.accelerator == Accelerator::Tcg;
    if kept {
        let restored = snapshot::find(set, rung).and_then(|snapshot| {
            let (memory, devices) = (snapshot.memory(), snapshot.devices());
            match Machine::restore(set, rung, &memory, &devices) {
                Ok(mut machine) => {
                    machine.missing = snapshot.missing().to_vec();
                    Ok(machine)
                }
                Err(error) => {
                    snapshot.discard();
                    Err(error)
                }
            }
        });
        match restored {
            Ok(machine) => return Ok(machine),
            Err(error) => say(&format!("no snapshot: {}", report(&error))),
        }
    }
    Machine::start(set, rung)
}
