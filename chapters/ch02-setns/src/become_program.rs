//! After unshare(2) and setns(2): this process is already where the program shall be.

use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::Command;

use anyhow::{Context, Result};
use common::exit::{Failure, NOT_EXECUTABLE, NOT_FOUND};
use common::step::{Hint, Step};
use common::{Exit, PATH};
use nix::errno::Errno;
use nix::sys::signal::Signal;

/// Become the program; where only children come into the namespace, have a child do
/// it, and end as it does. Without words, it is a shell.
///
/// # Errors
/// There is no such program (127), or it can't be executed (126).
/// # Source
/// execve(2)
pub fn become_program(words: &[OsString], as_child: bool) -> Result<Exit> {
    let shell = [OsString::from("sh")];
    let words = if words.is_empty() { &shell } else { words };
    let (name, arguments) = words.split_first().context("no program")?;
    let mut command = Command::new(name);
    command.args(arguments).env_clear().env("PATH", PATH);
    let kept = ["HOME", "TERM"].into_iter();
    command.envs(kept.filter_map(|key| Some((key, std::env::var_os(key)?))));
    let failed = |error: io::Error| {
        let shown = name.display();
        let code = match error.kind() {
            io::ErrorKind::NotFound => NOT_FOUND,
            _ => NOT_EXECUTABLE,
        };
        let text = match error.raw_os_error().map(Errno::from_raw) {
            Some(Errno::ENOENT) if !name.as_bytes().contains(&b'/') => {
                format!("exec {shown}: not found in PATH={PATH}")
            }
            Some(errno) => format!("exec {shown}: {errno}"),
            None => format!("exec {shown}: {error}"),
        };
        Failure { code, text }
    };
    if !as_child {
        return Err(failed(command.exec()).into());
    }
    let status = match command.status() {
        Err(e) if e.raw_os_error() == Some(Errno::ENOMEM as i32) => {
            return Err(e).step(|| "fork(2)").hint(|_| {
                Some(
                    "a PID namespace whose number 1 has ended takes no new process: \
                     it can be held, and is of no more use"
                        .to_owned(),
                )
            });
        }
        status => status.map_err(failed)?,
    };
    Ok(match status.signal() {
        Some(signal) => Exit::Signal(Signal::try_from(signal)?),
        None => Exit::Code(status.code().unwrap_or(0)),
    })
}
