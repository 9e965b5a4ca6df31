//! Execute the program after unshare(2) or setns(2): this process is already in the
//! program's namespaces.

use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::Command;

use anyhow::{Context, Result};
use common::exit::{Failure, NOT_EXECUTABLE, NOT_FOUND};
use common::step::{Hint, Step};
use common::{Exit, PATH, hint_of_callers_path};
use nix::errno::Errno;
use nix::sys::signal::Signal;

/// Replace this process with the program. With `as_child`, run the program as a
/// child process instead, and return its exit status: PID and time namespaces apply
/// only to children. If `words` is empty, the program is `sh`.
///
/// # Errors
/// The program is not found (exit status 127) or cannot be executed (126).
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
                let hint = hint_of_callers_path(name).unwrap_or_default();
                format!("exec {shown}: not found in PATH={PATH}{hint}")
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
                    "a PID namespace accepts no new process after its PID 1 has \
                     ended: use another one"
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
