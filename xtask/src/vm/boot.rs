//! Starting a VM: restoring it from a snapshot, or booting it.

use anyhow::{Result, bail};
use common::step::report;

use super::accelerator::Accelerator;
use super::machine::Machine;
use super::rung::{Rung, ladder};
use super::{Set, say, snapshot};
use crate::mutex::lock;

/// Start a VM with the rung that worked last, or else with the first rung that
/// works.
///
/// # Errors
/// No rung works; the error contains the reason of each.
pub(crate) fn boot(set: &Set) -> Result<Machine> {
    let known = lock(&set.rung).clone();
    let mut rungs = ladder(set);
    if let Some(known) = known {
        // A rung that has worked before is tried twice.
        rungs = [&known, &known].into_iter().chain(&rungs).cloned().collect();
    }
    let mut tried = Vec::new();
    for rung in rungs {
        match up(set, &rung) {
            Ok(machine) => {
                if !tried.is_empty() {
                    say(&format!(
                        "started with {rung}; failed before:{}",
                        tried.concat()
                    ));
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
        "no VM starts with Linux {}; tried:{}\nhint: use another kernel with \
         --kernel, or run the tests on this machine as root with --here",
        set.kernel.release,
        tried.concat()
    )
}

/// Start a VM with this rung: restore it if possible, otherwise boot it.
fn up(set: &Set, rung: &Rung) -> Result<Machine> {
    // With KVM, a boot is about as fast as a restore.
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
