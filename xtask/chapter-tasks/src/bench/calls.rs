//! The system calls that a command makes, as strace counts them.

use std::collections::BTreeMap;
use std::fs;
use std::process::{Command, Stdio};

use anyhow::{Context, Result};

use xtask::checkout::target;
use xtask::command::must;

/// Whether strace is installed.
pub(super) fn strace_is_there() -> bool {
    Command::new("strace").arg("-V").output().is_ok()
}

/// The number of each system call, of the parent and the child together.
pub(super) fn calls(command: &Command) -> Result<BTreeMap<String, usize>> {
    let log = target().join("bench-strace");
    let mut strace = Command::new("strace");
    strace.args(["-f", "-o"]).arg(&log).arg(command.get_program());
    strace.args(command.get_args()).stdin(Stdio::null());
    strace.envs(command.get_envs().filter_map(|(k, v)| Some((k, v?))));
    must(&mut strace)?;
    let text = fs::read_to_string(&log).context("strace's log")?;
    fs::remove_file(&log)?;
    let mut calls = BTreeMap::new();
    // The calls before main depend on the size of the program: the runtime reads its
    // maps.
    let own = text.find("sigaltstack(").map_or("", |main| &text[main..]);
    for line in own.lines() {
        // The form is PID NAME(ARGUMENTS…. The second half of an interrupted call
        // has the form PID <... NAME resumed>.
        let name = line.split_whitespace().nth(1).and_then(|w| w.split_once('('));
        // The number of brk(2) calls depends on the lengths of paths; libc wakes, by
        // futex(2), threads that a static program does not have.
        let own = |name: &str| !["brk", "futex"].contains(&name);
        if let Some((name, _)) = name.filter(|(name, _)| own(name)) {
            *calls.entry(name.to_owned()).or_default() += 1;
        }
    }
    Ok(calls)
}
