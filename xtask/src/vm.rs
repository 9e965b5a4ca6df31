//! The test VM: a kernel, an emulator, an initramfs, and the protocol with its PID
//! 1.

pub mod accelerator;
mod boot;
mod boot_config;
pub(crate) mod bzimage;
mod command_line;
mod console;
pub(crate) mod cpio;
pub(crate) mod ext4;
pub(crate) mod firewalls;
pub(crate) mod kernel;
pub(crate) mod libraries;
pub mod machine;
pub(crate) mod modules;
mod monitor;
mod package;
mod packages;
pub mod payload;
pub mod qemu;
pub mod scratch;
mod snapshot;
pub(crate) mod systemd;
pub(crate) mod tree;

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use clap::ValueEnum;
use common::state::State;
use nix::errno::Errno;

use crate::checkout::target;
use accelerator::Accelerator;
use kernel::Kernel;
use payload::Medium;
use qemu::Qemu;
use scratch::Scratch;

/// The directory of everything that is kept for the VM.
pub fn directory() -> PathBuf {
    target().join("vm")
}

/// The state directory with the busybox that all tests use.
pub fn state() -> State {
    State::at(directory().join("busybox-oci"))
}

/// Print a line of progress.
pub(crate) fn say(line: &str) {
    eprintln!("vm: {line}");
}

/// The hint for a full build directory.
pub(crate) fn full(errno: Errno) -> Option<String> {
    matches!(errno, Errno::ENOSPC | Errno::EDQUOT).then(|| {
        "the disk of the build directory is full: free some space, or set \
         CARGO_TARGET_DIR to a directory on another disk"
            .to_owned()
    })
}

/// The cgroup layout.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Cgroup {
    /// Each controller in its own hierarchy
    V1,
    /// As v1, with an additional empty v2 hierarchy
    Hybrid,
    /// One hierarchy
    V2,
}

impl fmt::Display for Cgroup {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(match self {
            Cgroup::V1 => "v1",
            Cgroup::Hybrid => "hybrid",
            Cgroup::V2 => "v2",
        })
    }
}

/// A disk of the VM, besides the one for /usr.
pub(crate) struct Disk {
    /// The serial number, by which the VM finds the disk.
    pub(crate) name: &'static str,
    /// The file with its content.
    pub(crate) path: PathBuf,
    /// A journal file, which records each write and each flush in order.
    pub(crate) journal: Option<PathBuf>,
}

/// Everything that is needed to boot VMs of one kind.
pub struct Set {
    pub(crate) qemu: Qemu,
    pub(crate) kernel: Kernel,
    pub(crate) accelerator: Accelerator,
    pub(crate) cgroup: Cgroup,
    /// The files from which a VM boots.
    pub medium: Medium,
    /// Writable disks. A snapshot includes none.
    pub(crate) disks: Vec<Disk>,
    /// Megabytes of memory.
    pub(crate) memory: u32,
    /// Keep the initramfs as root filesystem, where pivot_root(2) fails.
    pub(crate) raw_root: bool,
    /// The time limit of a boot, if it is not the default.
    pub(crate) boot_limit: Option<Duration>,
    /// The configuration with which the last boot worked.
    pub(crate) boot_config: boot_config::LastBootConfig,
    /// Whether a VM may be restored from a snapshot.
    pub kept: bool,
    /// The directory of the medium, removed when this is dropped.
    pub(crate) scratch: Scratch,
}

impl Set {
    /// One line that describes the VMs.
    #[must_use]
    pub fn describe(&self) -> String {
        format!(
            "Linux {}, cgroup {}, {} by {}",
            self.kernel.release,
            self.cgroup,
            self.qemu.version,
            self.accelerator.name()
        )
    }

    /// Boot a VM.
    ///
    /// # Errors
    /// QEMU cannot be started, or the VM does not report in time.
    pub fn boot(&self) -> Result<machine::Machine> {
        boot::boot(self)
    }
}
