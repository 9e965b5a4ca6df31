//! Change the root directory.

use std::fs::{File, metadata};
use std::io::{ErrorKind, stderr, stdin, stdout};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;

use anyhow::Result;
use clap::Args;
use common::step::{Hint, Step};
use common::{ParentLink, Part, Plan};
use nix::errno::Errno;
use nix::mount::{MntFlags, umount2};
use nix::sys::stat::{SFlag, fstat, makedev};
use nix::unistd::{chdir, chroot, dup2_stderr, dup2_stdin, dup2_stdout, pivot_root};

/// Flags of this part.
#[derive(Args, Debug, Default)]
#[group(skip)]
pub struct Flags {
    /// Use chroot(2) instead of pivot_root(2): the host's root stays in the mount
    /// namespace, and programs can reach it
    #[arg(long)]
    pub chroot: bool,
}

/// The part that makes the tree at the plan's root the new `/`, and detaches the
/// host's root.
///
/// # Source
/// pivot_root(2), "pivot_root(".", ".")"
#[derive(Debug)]
pub struct PivotRoot {
    flags: Flags,
}

impl PivotRoot {
    /// Create the part from the flags.
    #[must_use]
    pub fn new(flags: Flags) -> PivotRoot {
        PivotRoot { flags }
    }
}

// ANCHOR: part
impl Part for PivotRoot {
    fn name(&self) -> &'static str {
        "pivot-root"
    }

    fn enter(&self, plan: &Plan, _link: &ParentLink) -> Result<()> {
        let root = plan.root.assembled()?;
        chdir(root).step(|| format!("chdir(2) {}", root.display()))?;
        if self.flags.chroot {
            chroot(".").step(|| format!("chroot(2) {}", root.display()))?;
        } else {
            // Both arguments are the same directory: the kernel mounts the old root
            // on top of the new one, so the image needs no directory for it.
            pivot_root(".", ".")
                .step(|| format!("pivot_root(2) {}", root.display()))
                .hint(einval)?;
            // `.` is the old root now. Detach it lazily: this program and its
            // libraries are files of the old root and keep it busy.
            umount2(".", MntFlags::MNT_DETACH).step(|| "umount2(2) . MNT_DETACH")?;
        }
        chdir("/").step(|| "chdir(2) /")?;
        own_null()
    }
}
// ANCHOR_END: part

// ANCHOR: null
/// If a stream of this process is the host's /dev/null, replace it by the /dev/null
/// of the new root. Otherwise root inside could change the mode of the host's
/// device: `chmod 600 /dev/stdin`.
///
/// # Errors
/// An errno of fstat(2), stat(2), open(2) or dup2(2).
pub fn own_null() -> Result<()> {
    let (stdin, stdout, stderr) =
        (is_null(stdin())?, is_null(stdout())?, is_null(stderr())?);
    if !(stdin || stdout || stderr) {
        return Ok(());
    }
    let there = match metadata("/dev/null") {
        // If the container has no /dev/null, keep the host's.
        Err(e)
            if matches!(
                e.kind(),
                ErrorKind::NotFound | ErrorKind::NotADirectory
            ) =>
        {
            return Ok(());
        }
        there => there.untraced(|| "stat(2) /dev/null")?,
    };
    if !is_null_device(there.mode(), there.rdev()) {
        return Ok(());
    }
    let null = File::options().read(true).write(true).open("/dev/null");
    let null = null.untraced(|| "open(2) /dev/null")?;
    if stdin {
        dup2_stdin(&null).step(|| "dup2(2) /dev/null to 0")?;
    }
    if stdout {
        dup2_stdout(&null).step(|| "dup2(2) /dev/null to 1")?;
    }
    if stderr {
        dup2_stderr(&null).step(|| "dup2(2) /dev/null to 2")?;
    }
    Ok(())
}

fn is_null(stream: impl AsFd) -> Result<bool> {
    let about = fstat(stream).untraced(|| "fstat(2) of a stream")?;
    Ok(is_null_device(about.st_mode, about.st_rdev))
}

fn is_null_device(mode: u32, number: u64) -> bool {
    let kind = SFlag::from_bits_truncate(mode) & SFlag::S_IFMT;
    kind == SFlag::S_IFCHR && number == makedev(1, 3)
}
// ANCHOR_END: null

/// The hint for EINVAL. The manual lists four reasons; the kernel does not report
/// which one applies.
fn einval(errno: Errno) -> Option<String> {
    (errno == Errno::EINVAL).then(|| {
        "the new root must be a mount point; neither it nor the parents of both \
         roots may be shared mounts; and the current root must not be the \
         initramfs: there, use mount --move first, as switch_root(8) does"
            .to_owned()
    })
}
