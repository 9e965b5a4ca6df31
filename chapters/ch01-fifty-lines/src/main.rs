//! A container in fifty lines, without the engine: `ch01-fifty-lines run CMD…`
//! creates namespaces and runs itself again as `child`, and the child process starts
//! in these namespaces. `ROOT=DIR` names the new root directory. The default is the
//! host's own `/`.

#![forbid(unsafe_code)]

// ANCHOR: program
use std::env::args_os;
use std::ffi::OsString;
use std::process::{Command, ExitCode, id};

use anyhow::{Context, Result, bail};

// ANCHOR: stage2
use nix::sched::{CloneFlags, unshare};
use nix::unistd::sethostname;
// ANCHOR_END: stage2

// ANCHOR: stage4
use nix::mount::{MsFlags, mount};
// ANCHOR_END: stage4

// ANCHOR: stage5
use nix::unistd::{chdir, chroot};
// ANCHOR_END: stage5

fn main() -> Result<ExitCode> {
    let mut words = args_os().skip(1);
    let verb = words.next().unwrap_or_default();
    match (verb.to_str(), words.collect::<Vec<_>>()) {
        (Some("run"), command) if !command.is_empty() => run(command),
        (Some("child"), command) if !command.is_empty() => child(&command),
        _ => bail!("usage: ch01-fifty-lines run COMMAND…"),
    }
}

fn run(command: Vec<OsString>) -> Result<ExitCode> {
    eprintln!("running {command:?} as {}", id());
    // ANCHOR: stage2
    let new = CloneFlags::from_iter([
        CloneFlags::CLONE_NEWUTS,
        // ANCHOR: stage3
        CloneFlags::CLONE_NEWPID,
        // ANCHOR_END: stage3
        // ANCHOR: stage4
        CloneFlags::CLONE_NEWNS,
        // ANCHOR_END: stage4
    ]);
    unshare(new).context("unshare(2): new namespaces require root: use sudo")?;
    // ANCHOR_END: stage2
    wait(Command::new("/proc/self/exe").arg("child").args(command))
}

fn child(command: &[OsString]) -> Result<ExitCode> {
    eprintln!("running {command:?} as {}", id());
    // ANCHOR: stage2
    sethostname("maverick").context("sethostname(2)")?;
    // ANCHOR_END: stage2
    // ANCHOR: stage4
    let (none, private) = (None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE);
    mount(none, "/", none, private, none).context("mount(2) / private")?;
    // ANCHOR_END: stage4
    // ANCHOR: stage5
    let root = std::env::var_os("ROOT").unwrap_or_else(|| "/".into());
    chroot(root.as_os_str()).with_context(|| format!("chroot(2) {root:?}"))?;
    chdir("/").context("chdir(2) /")?;
    // ANCHOR_END: stage5
    // ANCHOR: stage4
    mount(Some("proc"), "/proc", Some("proc"), MsFlags::empty(), none)
        .context("mount(2) proc")?;
    // ANCHOR_END: stage4
    wait(Command::new(&command[0]).args(&command[1..]))
}

fn wait(command: &mut Command) -> Result<ExitCode> {
    let status =
        command.status().with_context(|| format!("{:?}", command.get_program()))?;
    Ok(ExitCode::from(status.code().map_or(1, |code| code as u8)))
}
// ANCHOR_END: program
