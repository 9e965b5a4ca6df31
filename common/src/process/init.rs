//! A small process 1: it stays, and its child goes on as the program.

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
use crate::engine::part::Up;
use crate::process::exit::{Exit, OURS};
use crate::process::safe_binary::SafeBinary;
use crate::process::sys::{self, Side};
use crate::process::terminal_filter;

/// Stay behind as process 1, and let a child go on from here as the program. What is
/// sent up is the child's pidfd, for [`Running::program_is`](crate::Running::program_is).
/// The container sees process 1 and its file, so that must be a [`SafeBinary`].
///
/// # Errors
/// Those of prctl(2), seccomp(2), sigprocmask(2), pipe2(2) and clone3(2).
// ANCHOR: split
pub fn stay_as_init(up: &Up, _: SafeBinary) -> Result<()> {
    // This process never calls execve(2) again, so its memory and its command line are the
    // host's own: a process without CAP_SYS_PTRACE must not look at them. The child is
    // traceable again when it has become the program.
    prctl::set_dumpable(false).step(|| "prctl(2) PR_SET_DUMPABLE 0")?;
    // Process 1 is sealed too: a program that can trace it could let it type.
    terminal_filter::install()?;
    // From before the child is there, so that no signal and no end of it gets lost.
    let signals = waited_for();
    signals.thread_set_mask().step(|| "sigprocmask(2) to all")?;
    // Its other end is closed when this process is what the program is to see.
    let (mut ready, end) = io::pipe().step(|| "pipe2(2)")?;
    sys::assert_one_thread()?;
    let none = CloneFlags::empty();
    match sys::clone3(none, none, None) {
        Ok(Side::Parent(program, pidfd)) => {
            let Err(error) = init(program, pidfd, &signals, up);
            return Err(error);
        }
        child => child.step(|| "clone3(2) of the program, by init").map(drop)?,
    }
    drop(end);
    ready.read_to_end(&mut Vec::new()).look(|| "read(2) until init is ready")?;
    SigSet::empty().thread_set_mask().step(|| "sigprocmask(2) to none")
}
// ANCHOR_END: split

/// Every signal that can be waited for and has a name.
fn waited_for() -> SigSet {
    let last = [Signal::SIGKILL, Signal::SIGSTOP];
    Signal::iterator().filter(|signal| !last.contains(signal)).collect()
}

/// The whole life of process 1. Should it fail before the program runs, that is told as
/// of any other step.
fn init(
    program: Pid,
    pidfd: OwnedFd,
    signals: &SigSet,
    up: &Up,
) -> Result<Infallible> {
    // What a terminal sends to a whole group reaches the program without this process,
    // which is in no session with it.
    setsid().look(|| "setsid(2) of init")?;
    // In a user namespace that may be denied for good.
    let _ = setgroups(&[] as &[Gid]);
    sys::rename("init")?;
    up.send(pidfd)?;
    // The container's lock, the channel, the program's streams: a pipe that the program
    // closes is closed then. And the one at which the program waits.
    sys::close_from(0).look(|| "close_range(2) from 0")?;
    sys::leave(serve(program, signals))
}

// ANCHOR: serve
/// Forward signals and reap, until the program has ended: its exit code.
///
/// Whoever loses its parent becomes a child of process 1, and a child that has ended
/// stays a zombie until it is waited for.
///
/// # Source
/// pid_namespaces(7), "The namespace init process"
fn serve(program: Pid, signals: &SigSet) -> u8 {
    loop {
        match signals.wait() {
            // Several that came at once are one.
            Ok(Signal::SIGCHLD) => {
                if let Some(how) = reap(program) {
                    return how.code();
                }
            }
            // A program that has ended takes none, and that is fine.
            Ok(signal) => drop(kill(program, signal)),
            Err(Errno::EINTR) => {}
            Err(_) => return OURS,
        }
    }
}

/// Reap all that have ended; how the program did, if it is one of them.
fn reap(program: Pid) -> Option<Exit> {
    let mut how = None;
    loop {
        match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            // More than the program may have ended.
            Ok(status) if status.pid() == Some(program) => how = Some(status.into()),
            Ok(WaitStatus::StillAlive) | Err(Errno::ECHILD) => return how,
            // Somebody's orphan.
            Ok(_) | Err(_) => {}
        }
    }
}
// ANCHOR_END: serve
