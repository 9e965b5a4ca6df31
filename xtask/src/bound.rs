//! Starting a process that is killed when its parent ends. This program sets
//! PDEATHSIG and then executes the other program.

use std::ffi::{OsStr, OsString};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Error, Result, ensure};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use nix::unistd::getppid;

/// The first argument with which this program calls [`become_program`].
pub(crate) const VERB: &str = "held-by";

/// A command that runs the program, bound to this process.
pub(crate) fn command(program: &Path) -> Command {
    // Not by its path, because a build may have replaced the file.
    let mut command = Command::new("/proc/self/exe");
    command.arg(VERB).arg(std::process::id().to_string()).arg(program);
    command
}

/// Bind this process to its parent, and execute the program. Returns only an error.
pub(crate) fn become_program(
    parent: &OsStr,
    program: &OsStr,
    arguments: &[OsString],
) -> Error {
    let bound = || -> Result<()> {
        set_pdeathsig(Signal::SIGKILL).context("prctl(2) PR_SET_PDEATHSIG")?;
        // The parent may have ended before prctl(2).
        let is = getppid().to_string();
        ensure!(parent.to_str() == Some(&is), "the parent process has ended");
        Ok(())
    };
    match bound() {
        Ok(()) => Command::new(program).args(arguments).exec().into(),
        Err(error) => error,
    }
}
