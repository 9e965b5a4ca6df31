//! The ways to boot a VM. They are tried in order; the fastest comes first.

use std::fmt;
use std::path::PathBuf;
use std::sync::Mutex;

use super::Set;
use super::accelerator::Accelerator;

/// One way to boot a VM.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct BootConfig {
    pub(super) accelerator: Accelerator,
    /// QEMU's `-M`. microvm boots in half the time; q35 boots everywhere.
    pub(super) machine: &'static str,
    pub(super) image: PathBuf,
}

impl BootConfig {
    /// The name of the machine type.
    pub(super) fn name(&self) -> &'static str {
        self.machine.split(',').next().unwrap_or_default()
    }
}

impl fmt::Display for BootConfig {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let name = self.image.file_name().unwrap_or_default();
        let (machine, accelerator) = (self.name(), self.accelerator.name());
        write!(f, "{machine}, {}, {accelerator}", name.display())
    }
}

/// The configuration with which the last VM of a set booted.
pub(crate) type LastBootConfig = Mutex<Option<BootConfig>>;

/// The configurations for a set, the fastest first.
pub(super) fn boot_configs(set: &Set) -> Vec<BootConfig> {
    let mut boot_configs = Vec::new();
    let mut accelerators = vec![set.accelerator];
    if set.accelerator == Accelerator::Kvm {
        accelerators.push(Accelerator::Tcg);
    }
    for accelerator in accelerators {
        let images = (set.kernel.images.first(), set.kernel.images.last());
        let (Some(first), Some(last)) = images else { continue };
        for (machine, image) in [("microvm,rtc=on", first), ("q35,hpet=off", last)] {
            boot_configs.push(BootConfig {
                accelerator,
                machine,
                image: image.clone(),
            });
        }
    }
    boot_configs
}
