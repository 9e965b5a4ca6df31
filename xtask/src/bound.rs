//! Starting a process that is killed when its parent ends. This program sets
//! PDEATHSIG and then executes the other program.

use std::ffi::{OsStr, OsString};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::{Context, Error, Result, ensure};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use nix::unistd::getppid;

/// The first argument with which this program calls [`become_program`].
const VERB: &str = "held-by";

/// A command that runs the program, bound to this process. The main function of this
/// program must call [`main`] first.
pub(crate) fn command(program: &Path) -> Command {
    // Not by its path, because a build may have replaced the file.
    let mut command = Command::new("/proc/self/exe");
    command.arg(VERB).arg(std::process::id().to_string()).arg(program);
    command
}

/// If the command line of this process is that of `command`, execute the program:
/// returns only the exit code of an error. `None` if the command line is another one.
#[must_use]
pub fn main() -> Option<ExitCode> {
    let words: Vec<OsString> = std::env::args_os().skip(1).collect();
    let [verb, parent, program, arguments @ ..] = words.as_slice() else {
        return None;
    };
    if verb != VERB {
        return None;
    }
    let error = become_program(parent, program, arguments);
    eprintln!("error: {}", common::step::report(&error));
    Some(ExitCode::FAILURE)
}

/// Bind this process to its parent, and execute the program. Returns only an error.
fn become_program(parent: &OsStr, program: &OsStr, arguments: &[OsString]) -> Error {
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
