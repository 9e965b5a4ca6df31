//! Starting a VM: restoring it from a snapshot, or booting it.

use anyhow::{Result, bail};
use common::step::report;

use super::accelerator::Accelerator;
use super::boot_config::{BootConfig, boot_configs};
use super::machine::Machine;
use super::{Set, say, snapshot};
use crate::mutex::lock;

/// Start a VM with the configuration that worked last, or else with the first
/// configuration that works.
///
/// # Errors
/// No configuration works; the error contains the reason of each.
pub(crate) fn boot(set: &Set) -> Result<Machine> {
    let known = lock(&set.boot_config).clone();
    let mut boot_configs = boot_configs(set);
    if let Some(known) = known {
        // A configuration that has worked before is tried twice.
        boot_configs =
            [&known, &known].into_iter().chain(&boot_configs).cloned().collect();
    }
    let mut tried = Vec::new();
    for boot_config in boot_configs {
        match up(set, &boot_config) {
            Ok(machine) => {
                if !tried.is_empty() {
                    say(&format!(
                        "started with {boot_config}; failed before:{}",
                        tried.concat()
                    ));
                }
                let first = lock(&set.boot_config).replace(boot_config).is_none();
                if first && !machine.missing.is_empty() {
                    let missing = machine.missing.join(", ");
                    say(&format!("this kernel has no cgroup v1 {missing}"));
                }
                return Ok(machine);
            }
            Err(error) => tried.push(format!("\n  {boot_config}: {error:#}")),
        }
    }
    bail!(
        "no VM starts with Linux {}; tried:{}\nhint: use another kernel with \
         --kernel, or run the tests on this machine as root with --here",
        set.kernel.release,
        tried.concat()
    )
}

/// Start a VM with this configuration: restore it if possible, otherwise boot it.
fn up(set: &Set, boot_config: &BootConfig) -> Result<Machine> {
    // With KVM, a boot is about as fast as a restore.
    let kept = set.kept
        && set.medium.disk.is_some()
        && boot_config.accelerator == Accelerator::Tcg;
    if kept {
        let restored = snapshot::find(set, boot_config).and_then(|snapshot| {
            let (memory, devices) = (snapshot.memory(), snapshot.devices());
            match Machine::restore(set, boot_config, &memory, &devices) {
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
    Machine::start(set, boot_config)
}
