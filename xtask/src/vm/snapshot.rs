//! Snapshots of booted VMs: the memory as a file, and the state of the devices.
//! Restoring one takes a fifth of the time of a boot.

use std::fs::{self, File};
use std::path::PathBuf;

use anyhow::Result;
use common::state::remove_tree;
use common::step::{Hint, Step};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::Set;
use super::boot_config::BootConfig;
use super::command_line::{kernel_line, processor};
use super::machine::Machine;
use crate::vm;

/// A saved VM, which can be restored any number of times.
#[derive(Debug)]
pub(super) struct Snapshot {
    directory: PathBuf,
    about: About,
}

#[derive(Debug, Serialize, Deserialize)]
struct About {
    /// A digest of everything on which it depends.
    key: String,
    /// The cgroup v1 controllers that the kernel could not mount.
    missing: Vec<String>,
}

impl Snapshot {
    /// The file with the VM's memory.
    pub(super) fn memory(&self) -> PathBuf {
        self.directory.join("memory")
    }

    /// The file with the state of its devices, in QEMU's format.
    pub(super) fn devices(&self) -> PathBuf {
        self.directory.join("devices")
    }

    pub(super) fn missing(&self) -> &[String] {
        &self.about.missing
    }

    /// Remove a snapshot that cannot be used: the next boot creates another one.
    pub(super) fn discard(self) {
        let _ = remove_tree(&self.directory);
    }
}

/// The snapshot for these VMs with this configuration. If it does not exist, or
/// belongs to another PID 1 or QEMU, it is created.
///
/// # Errors
/// The VM does not boot, or cannot be saved.
pub(super) fn find(set: &Set, boot_config: &BootConfig) -> Result<Snapshot> {
    let parent = vm::directory().join("snapshots");
    fs::create_dir_all(&parent)
        .step(|| format!("mkdir(2) {}", parent.display()))
        .hint(vm::full)?;
    let name =
        format!("{}-{}-{}", set.kernel.release, set.cgroup, boot_config.name());
    let path = parent.join(format!("{name}.lock"));
    // One process creates it; the others wait and find it.
    let lock = File::create(&path).step(|| format!("open(2) {}", path.display()))?;
    lock.lock().step(|| format!("flock(2) {}", path.display()))?;
    let directory = parent.join(&name);
    let key = key(set, boot_config)?;
    let about = fs::read(directory.join("about.json")).ok();
    let about = about.and_then(|text| serde_json::from_slice::<About>(&text).ok());
    if let Some(about) = about.filter(|about| about.key == key) {
        return Ok(Snapshot { directory, about });
    }
    let new = parent.join(format!("{name}.new"));
    remove_tree(&new)?;
    fs::create_dir(&new).step(|| format!("mkdir(2) {}", new.display()))?;
    let mut snapshot =
        Snapshot { directory: new, about: About { key, missing: Vec::new() } };
    let made = make(set, boot_config, &mut snapshot);
    if let Err(error) = made {
        snapshot.discard();
        return Err(error);
    }
    // Processes that still use the old snapshot have its files open.
    remove_tree(&directory)?;
    fs::rename(&snapshot.directory, &directory)
        .step(|| format!("rename(2) {}", directory.display()))?;
    Ok(Snapshot { directory, ..snapshot })
}

fn make(set: &Set, boot_config: &BootConfig, snapshot: &mut Snapshot) -> Result<()> {
    let about = &mut snapshot.about;
    about.missing = Machine::keep(
        set,
        boot_config,
        &snapshot.directory.join("memory"),
        &snapshot.directory.join("devices"),
    )?;
    let text = serde_json::to_vec_pretty(about)?;
    let path = snapshot.directory.join("about.json");
    fs::write(&path, text)
        .step(|| format!("write(2) {}", path.display()))
        .hint(vm::full)
}

/// A digest of everything that determines the state of a VM before its first order.
fn key(set: &Set, boot_config: &BootConfig) -> Result<String> {
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id");
    // The frequency of the processor's clock is measured at each boot of the host.
    let line = kernel_line(set, boot_config.accelerator);
    let words = line.split(' ');
    let steady: Vec<&str> = words
        .filter(|w| !w.starts_with("tsc_early_khz=") && !w.starts_with("lpj="))
        .collect();
    let kernel = fs::metadata(&boot_config.image)
        .step(|| format!("stat(2) {}", boot_config.image.display()))?;
    let disk = set.medium.disk.as_ref().and_then(|disk| fs::metadata(disk).ok());
    let words = (
        &set.qemu.version,
        set.qemu.program.display().to_string(),
        boot.unwrap_or_default(),
        boot_config.to_string(),
        boot_config.image.display().to_string(),
        (kernel.len(), kernel.modified().ok()),
        steady,
        processor(boot_config.accelerator),
        disk.map(|disk| disk.len()),
    );
    let initramfs = fs::read(&set.medium.initramfs)
        .step(|| format!("read(2) {}", set.medium.initramfs.display()))?;
    let mut hash = Sha256::new_with_prefix(format!("{words:?}"));
    hash.update(initramfs);
    let bytes = hash.finalize();
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}
