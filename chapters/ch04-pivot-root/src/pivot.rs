//! The change of root.

use std::fs::{File, metadata};
use std::io::{ErrorKind, stderr, stdin, stdout};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;

use anyhow::Result;
use clap::Args;
use common::step::{Hint, Step};
use common::{Part, Plan, Up};
use nix::errno::Errno;
use nix::mount::{MntFlags, umount2};
use nix::sys::stat::{SFlag, fstat, makedev};
use nix::unistd::{chdir, chroot, dup2_stderr, dup2_stdin, dup2_stdout, pivot_root};

/// Flags of this part.
#[derive(Args, Debug, Default)]
#[group(skip)]
pub struct Flags {
    /// Change the root by chroot(2) instead: the host's root stays in the mount
    /// namespace, and there are ways to it
    #[arg(long)]
    pub chroot: bool,
}

/// The tree at the plan's root becomes `/`, and the host's root is gone.
///
/// # Source
/// pivot_root(2), "pivot_root(".", ".")"
#[derive(Debug)]
pub struct PivotRoot {
    flags: Flags,
}

impl PivotRoot {
    /// By the flags.
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

    fn enter(&self, plan: &Plan, _up: &Up) -> Result<()> {
        let root = plan.root.assembled()?;
        chdir(root).step(|| format!("chdir(2) {}", root.display()))?;
        if self.flags.chroot {
            chroot(".").step(|| format!("chroot(2) {}", root.display()))?;
        } else {
            // Both names are the same directory: the old root is put on top of the
            // new one, where no directory of the image has to be made for it.
            pivot_root(".", ".")
                .step(|| format!("pivot_root(2) {}", root.display()))
                .hint(einval)?;
            // `.` is the old root now. Lazily, since this very program, and the
            // loader and libraries that it has mapped, keep it busy.
            umount2(".", MntFlags::MNT_DETACH).step(|| "umount2(2) . MNT_DETACH")?;
        }
        chdir("/").step(|| "chdir(2) /")?;
        own_null()
    }
}
// ANCHOR_END: part

// ANCHOR: null
/// Where a stream of this process is the host's /dev/null, take that of the new root.
/// Root inside may chmod(2) whatever it holds open: `chmod 600 /dev/stdin`.
///
/// # Errors
/// Those of fstat(2), open(2) and dup2(2).
pub fn own_null() -> Result<()> {
    let (stdin, stdout, stderr) =
        (is_null(stdin())?, is_null(stdout())?, is_null(stderr())?);
    if !(stdin || stdout || stderr) {
        return Ok(());
    }
    let there = match metadata("/dev/null") {
        // Who has made something else of it inside has to live with the host's.
        Err(e)
            if matches!(
                e.kind(),
                ErrorKind::NotFound | ErrorKind::NotADirectory
            ) =>
        {
            return Ok(());
        }
        there => there.look(|| "stat(2) /dev/null")?,
    };
    if !is_null_device(there.mode(), there.rdev()) {
        return Ok(());
    }
    let null = File::options().read(true).write(true).open("/dev/null");
    let null = null.look(|| "open(2) /dev/null")?;
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
    let about = fstat(stream).look(|| "fstat(2) of a stream")?;
    Ok(is_null_device(about.st_mode, about.st_rdev))
}

fn is_null_device(mode: u32, number: u64) -> bool {
    let kind = SFlag::from_bits_truncate(mode) & SFlag::S_IFMT;
    kind == SFlag::S_IFCHR && number == makedev(1, 3)
}
// ANCHOR_END: null

/// EINVAL has four reasons; the manual lists them, the kernel does not say which.
fn einval(errno: Errno) -> Option<String> {
    (errno == Errno::EINVAL).then(|| {
        "the kernel wants the new root to be a mount, neither it nor the parents \
         of both roots to be shared, and the present root not to be the initramfs: \
         there, mount --move it away first, as switch_root(8) does"
            .to_owned()
    })
}
