//! A small init process: it stays PID 1, and its child becomes the program.

use std::convert::Infallible;
use std::io::{self, Read};
use std::os::fd::OwnedFd;

use anyhow::Result;
use nix::errno::Errno;
use nix::sched::CloneFlags;
use nix::sys::prctl;
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Gid, Pid, setgroups, setsid};

use crate::cli::step::Step;
use crate::engine::part::ParentLink;
use crate::process::exit::{Exit, RUNTIME_ERROR};
use crate::process::safe_binary::SafeBinary;
use crate::process::sys::{self, Side};
use crate::process::terminal_filter;

/// Stay as PID 1, and return in a child that becomes the program. The child's pidfd
/// is sent to the supervisor, for
/// [`Running::set_program`](crate::Running::set_program). The container sees PID 1 and
/// its file, which must therefore be a [`SafeBinary`].
///
/// # Errors
/// prctl(2), seccomp(2), sigprocmask(2), pipe2(2) or clone3(2) fails.
// ANCHOR: split
pub fn stay_as_init(link: &ParentLink, _: SafeBinary) -> Result<()> {
    // This process never calls execve(2), so its memory and its command line are
    // those of the supervisor. A process without CAP_SYS_PTRACE must not read
    // them. The child becomes traceable again when it executes the program.
    prctl::set_dumpable(false).step(|| "prctl(2) PR_SET_DUMPABLE 0")?;
    // PID 1 needs the filter too: a program that can trace it could make it inject
    // terminal input.
    terminal_filter::install()?;
    // Block the signals before the child exists, so that no signal and no SIGCHLD is
    // lost.
    let signals = waited_for();
    signals.thread_set_mask().step(|| "sigprocmask(2) to all")?;
    // This process closes the other end when it is ready to be seen by the program.
    let (mut ready, end) = io::pipe().step(|| "pipe2(2)")?;
    sys::assert_one_thread()?;
    let none = CloneFlags::empty();
    match sys::clone3(none, none, None) {
        Ok(Side::Parent(program, pidfd)) => {
            let Err(error) = init(program, pidfd, &signals, link);
            return Err(error);
        }
        child => child.step(|| "clone3(2) of the program, by init").map(drop)?,
    }
    drop(end);
    ready.read_to_end(&mut Vec::new()).untraced(|| "read(2) until init is ready")?;
    SigSet::empty().thread_set_mask().step(|| "sigprocmask(2) to none")
}
// ANCHOR_END: split

/// Every signal with a name that can be waited for.
fn waited_for() -> SigSet {
    let last = [Signal::SIGKILL, Signal::SIGSTOP];
    Signal::iterator().filter(|signal| !last.contains(signal)).collect()
}

/// The whole life of PID 1. If it fails before the program runs, the error is
/// reported like the error of any other step.
fn init(
    program: Pid,
    pidfd: OwnedFd,
    signals: &SigSet,
    link: &ParentLink,
) -> Result<Infallible> {
    // A signal that a terminal sends to a whole process group must reach the program
    // directly, so this process leaves that session.
    setsid().untraced(|| "setsid(2) of init")?;
    // setgroups(2) may be denied in a user namespace.
    let _ = setgroups(&[] as &[Gid]);
    sys::rename("init")?;
    link.send(pidfd)?;
    // Close the container's lock, the channel and the program's streams (a pipe must
    // end when the program closes it). This also closes the pipe at which the
    // program waits.
    sys::close_from(0).untraced(|| "close_range(2) from 0")?;
    // The program runs, so nobody reads the reason of a failure.
    sys::exit_now(serve(program, signals).map_or(RUNTIME_ERROR, Exit::code))
}

// ANCHOR: serve
/// Forward signals and reap children until the program has ended. Returns how it
/// ended.
///
/// A process that loses its parent becomes a child of PID 1, and a child that has
/// ended stays a zombie until its parent waits for it.
///
/// # Source
/// pid_namespaces(7), "The namespace init process"
fn serve(program: Pid, signals: &SigSet) -> Result<Exit> {
    loop {
        match signals.wait() {
            // Several pending SIGCHLD are merged into one.
            Ok(Signal::SIGCHLD) => {
                if let Some(how) = reap(program)? {
                    return Ok(how);
                }
            }
            // A program that has ended ignores the signal; this is not an error.
            Ok(signal) => drop(kill(program, signal)),
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno).untraced(|| "sigwait(3)"),
        }
    }
}

/// Reap all children that have ended. Returns how the program ended, if it did.
fn reap(program: Pid) -> Result<Option<Exit>> {
    let mut how = None;
    loop {
        match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            // More children than the program may have ended.
            Ok(status) if status.pid() == Some(program) => how = Some(status.into()),
            Ok(WaitStatus::StillAlive) | Err(Errno::ECHILD) => return Ok(how),
            // An orphan of another process.
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno).untraced(|| "waitpid(2)"),
        }
    }
}
// ANCHOR_END: serve
