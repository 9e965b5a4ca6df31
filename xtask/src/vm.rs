//! The test VM: a kernel, an emulator, an initramfs, and a talk with process 1.

pub(crate) mod accelerator;
mod boot;
pub(crate) mod bzimage;
mod command_line;
mod console;
pub(crate) mod cpio;
pub(crate) mod ext4;
pub(crate) mod firewalls;
pub(crate) mod kernel;
pub(crate) mod machine;
pub(crate) mod modules;
mod monitor;
mod package;
pub(crate) mod payload;
pub(crate) mod qemu;
mod rung;
pub(crate) mod scratch;
mod snapshot;
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

/// Where all of the VM lies that is kept.
pub(crate) fn directory() -> PathBuf {
    target().join("vm")
}

/// The state directory with the busybox that all tests start from.
pub(crate) fn state() -> State {
    State::at(directory().join("busybox-oci"))
}

/// A line for the reader about what goes on.
pub(crate) fn say(line: &str) {
    eprintln!("vm: {line}");
}

/// A hint for whoever fills the build directory.
pub(crate) fn full(errno: Errno) -> Option<String> {
    matches!(errno, Errno::ENOSPC | Errno::EDQUOT).then(|| {
        "the disk of the build directory is full: make room, or let CARGO_TARGET_DIR \
         name a directory on another one"
            .to_owned()
    })
}

/// How the cgroup file systems are mounted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Cgroup {
    /// Each controller in a hierarchy of its own
    V1,
    /// As v1, with an empty v2 tree beside it
    Hybrid,
    /// One tree
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

/// A disk beside the one for /usr.
pub(crate) struct Disk {
    /// What the VM finds it by: its serial number.
    pub(crate) name: &'static str,
    /// Its bytes.
    pub(crate) path: PathBuf,
    /// Where each write and each flush is kept as well, in their order.
    pub(crate) journal: Option<PathBuf>,
}

/// All that a VM is made of. Any number can be booted from one.
pub(crate) struct Set {
    pub(crate) qemu: Qemu,
    pub(crate) kernel: Kernel,
    pub(crate) accelerator: Accelerator,
    pub(crate) cgroup: Cgroup,
    pub(crate) medium: Medium,
    /// Disks that are written to. A snapshot knows of none.
    pub(crate) disks: Vec<Disk>,
    /// Megabytes of memory.
    pub(crate) memory: u32,
    /// Stay on the initramfs root, where pivot_root(2) fails.
    pub(crate) raw_root: bool,
    /// How long a boot may take, if not as long as usual.
    pub(crate) boot_limit: Option<Duration>,
    /// The rung of the ladder that the last boot stood on.
    pub(crate) rung: rung::LastRung,
    /// Whether a VM may be restored from a snapshot.
    pub(crate) kept: bool,
    /// Keeps the medium while this lives.
    pub(crate) scratch: Scratch,
}

impl Set {
    /// One line on what was chosen.
    pub(crate) fn describe(&self) -> String {
        format!(
            "Linux {}, cgroup {}, {} by {}",
            self.kernel.release,
            self.cgroup,
            self.qemu.version,
            self.accelerator.name()
        )
    }

    /// Boot one.
    pub(crate) fn boot(&self) -> Result<machine::Machine> {
        boot::boot(self)
    }
}
