//! The networks of an ordinary user: all containers of the user share one user
//! namespace and one network namespace, and the bridges are in it.
//!
//! A process of this program, the *keeper*, creates the two namespaces and keeps
//! them alive. They exist as long as a container needs them:
//!
//! ```text
//! networks/.shared   PID and start time of the keeper
//! ```
//!
//! Each supervisor of a container holds a shared lock on this file (flock(2)). The
//! keeper waits for an exclusive lock. It gets the lock when the last supervisor has
//! ended, even by SIGKILL. Then the keeper ends too, and the kernel removes the
//! namespaces and the bridges.
//!
//! The connection to other hosts is pasta(1): a program that reads packets from a
//! device in the network namespace, and sends their data through sockets outside.

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use ch02_net::Route;
use ch02_user::Outside;
use common::state::State;
use common::step::{self, Hint, Step};
use common::{
    NotedProcess, PATH, Process, hints, in_background, null, read_whole, rights,
};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::prctl;
use nix::unistd::Pid;

use crate::{Networks, sysctl};

/// The lock that keeps the namespaces alive, as long as any process has a copy of
/// it.
#[derive(Debug)]
pub struct Shared {
    _lock: File,
}

fn path(state: &State, name: &str) -> PathBuf {
    // No network has a name that begins with a dot.
    state.networks().join(name)
}

/// Whether the networks of this user are in namespaces that the user's containers
/// share. This is false if this process may create devices in its own network
/// namespace.
#[must_use]
pub fn is_needed() -> bool {
    !rights::privileged()
}

// ANCHOR: enter
/// Enter the user's namespaces. They are created first if no container has them. If
/// this process may create devices in its own network namespace, it stays there, and
/// the result is `None`.
///
/// # Errors
/// EPERM or ENOSPC if the system does not allow users to create namespaces; an errno
/// of flock(2).
pub fn enter(state: &State) -> Result<Option<Shared>> {
    if !is_needed() {
        return Ok(None);
    }
    let networks = Networks::lock(state)?;
    let lock = held(state)?;
    let keeper = match keeper(state)? {
        Some(keeper) => keeper,
        None => {
            make(state)?;
            let keeper = keeper(state)?.context("the keeper ended at once")?;
            pasta(state, &keeper);
            keeper
        }
    };
    drop(networks);
    join(&keeper)?;
    Ok(Some(Shared { _lock: lock }))
}

/// Enter the user's namespaces if a container has them. Returns whether this process
/// is now in the network namespace that contains the bridges.
///
/// # Errors
/// The errors of [`enter`].
pub fn enter_if_there(state: &State) -> Result<(bool, Option<Shared>)> {
    if !is_needed() {
        return Ok((true, None));
    }
    let _networks = Networks::lock(state)?;
    let lock = held(state)?;
    let Some(keeper) = keeper(state)? else { return Ok((false, None)) };
    join(&keeper)?;
    Ok((true, Some(Shared { _lock: lock })))
}
// ANCHOR_END: enter

/// Take a shared lock. If a keeper is ending, this waits for its end.
fn held(state: &State) -> Result<File> {
    let path = path(state, ".shared");
    let file = File::options().create(true).append(true).read(true).open(&path);
    let file = file
        .untraced(|| format!("open(2) {}", path.display()))
        .hint(hints::state)?;
    file.lock_shared().untraced(|| format!("flock(2) {}", path.display()))?;
    Ok(file)
}

/// The keeper, if it is running.
fn keeper(state: &State) -> Result<Option<Process>> {
    let path = path(state, ".shared");
    let text = read_whole::text(&path);
    let text = text.untraced(|| format!("read(2) {}", path.display()))?;
    let noted = || {
        let (pid, since) = text.trim().split_once(' ')?;
        let pid = Pid::from_raw(pid.parse().ok()?);
        Some(NotedProcess { pid, since: since.parse().ok()? })
    };
    let Some(noted) = noted() else { return Ok(None) };
    noted.open().untraced(|| format!("pidfd_open(2) {}", noted.pid))
}

// ANCHOR: make
/// Start a keeper.
fn make(state: &State) -> Result<()> {
    let path = path(state, ".shared");
    let outside = Outside::caller();
    let start = || {
        unshare(CloneFlags::CLONE_NEWUSER)
            .step(|| "unshare(2) CLONE_NEWUSER")
            .hint(|_| {
                Some(
                    "the system must allow ordinary users to create user \
                     namespaces: see the sysctls user.max_user_namespaces and \
                     kernel.unprivileged_userns_clone"
                        .to_owned(),
                )
            })?;
        outside.becomes_root_of("self")?;
        // Without this, only the host's root could enter the namespaces.
        prctl::set_dumpable(true).untraced(|| "prctl(2) PR_SET_DUMPABLE")?;
        unshare(CloneFlags::CLONE_NEWNET).step(|| "unshare(2) CLONE_NEWNET")?;
        Route::open()?.set_up("lo")?;
        sysctl::forward()?;
        let own = Process::of(Pid::this()).untraced(|| "pidfd_open(2)")?;
        let own = own.context("this process is not in /proc")?;
        let note = format!("{} {}\n", own.pid, own.since);
        let step = || format!("write(2) {}", path.display());
        fs::write(&path, note).untraced(step)?;
        File::open(&path).untraced(|| format!("open(2) {}", path.display()))
    };
    in_background(start, |file| {
        // The lock is granted when the last supervisor has ended.
        while file.lock().is_err_and(|e| e.kind() == ErrorKind::Interrupted) {}
        end_pasta(&path.with_file_name(".pasta"));
    })
}
// ANCHOR_END: make

/// Enter the namespaces of the keeper.
fn join(keeper: &Process) -> Result<()> {
    let open = |kind: &str| {
        let path = format!("/proc/{}/ns/{kind}", keeper.pid);
        File::open(&path).untraced(|| format!("open(2) {path}"))
    };
    let (user, network) = (open("user")?, open("net")?);
    setns(user, CloneFlags::CLONE_NEWUSER)
        .step(|| "setns(2) the user namespace of the networks")?;
    setns(network, CloneFlags::CLONE_NEWNET)
        .step(|| "setns(2) the network namespace of the networks")?;
    // After the change of credentials, the kernel lets only the host's root read
    // this process's files in /proc. Undo this, because the files of its children in
    // /proc are needed.
    prctl::set_dumpable(true).untraced(|| "prctl(2) PR_SET_DUMPABLE")
}

/// Connect the namespace to other hosts. If this fails, the containers of the user
/// still reach each other, and a warning is printed.
fn pasta(state: &State, keeper: &Process) {
    if let Err(error) = try_pasta(&path(state, ".pasta"), keeper) {
        let text = step::report(&error);
        let missing = error
            .downcast_ref::<io::Error>()
            .is_some_and(|error| error.kind() == ErrorKind::NotFound);
        let remedy = if missing {
            "; to connect them, install the package passt, which has the program pasta"
        } else if File::options().read(true).write(true).open(TUN).is_err() {
            "; to connect them, make sure that you can open /dev/net/tun for reading and \
             writing"
        } else {
            ""
        };
        step::warn(&format!(
            "{text}\nthe containers reach each other, but no other host{remedy}"
        ));
    }
}

/// The device that pasta needs.
const TUN: &str = "/dev/net/tun";

fn try_pasta(pid_file: &Path, keeper: &Process) -> Result<()> {
    let mut pasta = Command::new("pasta");
    // A proxy of this program publishes ports, because pasta cannot add ports later.
    pasta.args(["--config-net", "--quiet", "--pid"]).arg(pid_file);
    pasta.args(["-t", "none", "-u", "none", "-T", "none", "-U", "none"]);
    // Without this option, pasta maps the gateway's address to 127.0.0.1 of the
    // host: containers would reach services there, and could not reach a name server
    // on the gateway.
    pasta.arg("--no-map-gw");
    pasta.arg(keeper.pid.to_string()).env("PATH", PATH);
    pasta.stdin(null()?).stdout(null()?).process_group(0);
    // pasta moves to the background when the device is ready.
    let out = pasta.stderr(Stdio::piped()).output();
    let out = out.context("execve(2) pasta")?;
    if !out.status.success() {
        let said = String::from_utf8_lossy(&out.stderr);
        let last = said.lines().next_back().unwrap_or("it printed nothing");
        bail!("pasta(1) failed, {}: {last}", out.status);
    }
    Ok(())
}

fn end_pasta(pid_file: &Path) {
    let pid = read_whole::text(pid_file).ok();
    let pid = pid.and_then(|text| text.trim().parse().ok()).map(Pid::from_raw);
    let name = |pid: Pid| fs::read_to_string(format!("/proc/{pid}/comm")).ok();
    if let Some(pid) = pid
        && let Ok(Some(process)) = Process::of(pid)
        && name(pid).is_some_and(|name| {
            name.starts_with("pasta") || name.starts_with("passt")
        })
    {
        let _ = rustix::process::pidfd_send_signal(
            &process.fd,
            rustix::process::Signal::TERM,
        );
    }
    let _ = fs::remove_file(pid_file);
}
