//! Creating the child: by one clone3(2), or by two to create it in an existing
//! container.
//!
//! A process cannot move into a PID namespace: only its children are created there
//! (pid_namespaces(7)). A process that joins a container therefore needs an
//! intermediate:
//!
//! ```text
//! parent ── clone3 ── intermediate: setns(2) ── clone3 CLONE_PARENT ── child
//!    │                    │ Born: pid, pidfd                             │
//!    │ ◀──────────────────┘ _exit(2)                                     │
//!    └ reaps both ◀──────────────────────────────────────────────────────┘
//! ```
//!
//! With CLONE_PARENT the child is the parent's own child, as in the plain case. No
//! other process has to pass on its exit status.

use std::fmt::Display;
use std::os::fd::AsFd;
use std::panic;
use std::time::Duration;

use anyhow::Result;
use nix::sched::CloneFlags;
use nix::sys::prctl;
use rustix::event::{PollFd, PollFlags};

use crate::cli::hints;
use crate::cli::step::{self, Hint, Position, Step};
use crate::engine::part::{Birth, Join};
use crate::process::channel::{Channel, Frame};
use crate::process::child::{Child, lost};
use crate::process::exit::{Failure, OURS, code_of};
use crate::process::poll::poll;
use crate::process::signals::die_with_parent;
use crate::process::sys::{self, Side};
use crate::process::{rights, terminal_filter};

/// The side of the clone on which this process is, and its end of the channel.
pub(crate) enum Born {
    /// The parent, whose child waits at the barrier.
    Parent(Child, Channel),
    /// The child.
    Child(&'static Channel),
}

/// Create the child.
pub(crate) fn make(birth: &Birth) -> Result<Born> {
    step::set_position(Position { side: "parent", hook: "clone", part: "" });
    let (ours, theirs) = Channel::pair().step(|| "socketpair(2)")?;
    sys::assert_one_thread()?;
    let Some(join) = &birth.join else {
        return Ok(match clone(birth, birth.namespaces, CloneFlags::empty())? {
            Side::Parent(pid, pidfd) => Born::Parent(Child::new(pid, pidfd), ours),
            Side::Child => Born::Child(Box::leak(Box::new(theirs))),
        });
    };
    let none = CloneFlags::empty();
    let side = sys::clone3(none, none, None);
    match traced_by_parent(side, || "clone3(2) of an intermediate".to_owned())? {
        Side::Parent(pid, pidfd) => {
            drop(theirs);
            let mut child = receive_child(Child::new(pid, pidfd), &ours)?;
            child.thawed.clone_from(&birth.thawed);
            Ok(Born::Parent(child, ours))
        }
        Side::Child => {
            drop(ours);
            let theirs = Box::leak(Box::new(theirs));
            intermediate(birth, join, theirs);
            Ok(Born::Child(theirs))
        }
    }
}

fn clone(birth: &Birth, namespaces: CloneFlags, extra: CloneFlags) -> Result<Side> {
    let cgroup = birth.cgroup.as_ref().map(AsFd::as_fd);
    let side = sys::clone3(namespaces, extra, cgroup);
    traced_by_parent(side, || format!("clone3(2) {}", names(namespaces | extra)))
        .hint(|errno| hints::clone(errno, namespaces))
}

/// Trace a step from which both sides return; only the parent traces it.
fn traced_by_parent(
    side: nix::Result<Side>,
    text: impl FnOnce() -> String,
) -> Result<Side> {
    match side {
        Ok(Side::Child) => Ok(Side::Child),
        side => side.step(text),
    }
}

/// Wait for the child that an intermediate process creates.
fn receive_child(mut intermediate: Child, channel: &Channel) -> Result<Child> {
    loop {
        let fds = [channel.as_fd(), intermediate.pidfd().as_fd()];
        let mut fds = fds.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN));
        poll(&mut fds, None)?;
        let ended = !fds[1].revents().is_empty();
        if ended {
            // A frame may have arrived between the checks of the two descriptors.
            poll(&mut fds, Some(Duration::ZERO))?;
        }
        match (fds[0].revents().is_empty(), ended) {
            (false, _) => {}
            (true, false) => continue,
            // The intermediate was killed after it created its child. The child also
            // holds the channel's other end, so no end of file arrives.
            (true, true) => return Err(lost(intermediate.reap()?)),
        }
        match channel.receive() {
            Ok(Some(Frame::Step(line))) => step::print_trace(&line),
            Ok(Some(Frame::Born(pid, pidfd))) => {
                return Ok(Child::born_of(pid, pidfd, intermediate));
            }
            Ok(Some(Frame::Refused { code, text })) => {
                return Err(Failure { code, text }.into());
            }
            _ => return Err(lost(intermediate.reap()?)),
        }
    }
}

/// The intermediate's whole life; only its child returns from here.
fn intermediate(birth: &Birth, join: &Join, channel: &'static Channel) {
    // Unwinding would run the parent's destructors.
    panic::set_hook(Box::new(|_| sys::leave(OURS)));
    step::redirect_trace(move |line| {
        let _ = channel.send(&Frame::Step(line.to_owned()));
    });
    step::set_position(Position { side: "child", hook: "join", part: "" });
    let frame = match joined(birth, join) {
        Ok(Side::Child) => return,
        Ok(Side::Parent(pid, pidfd)) => Frame::Born(pid, pidfd),
        Err(error) => {
            Frame::Refused { code: code_of(&error), text: step::report(&error) }
        }
    };
    // If the parent has ended, nothing is left to do; the child detects it by
    // itself.
    let _ = channel.send(&frame);
    sys::leave(OURS)
}

// ANCHOR: joined
fn joined(birth: &Birth, join: &Join) -> Result<Side> {
    die_with_parent()?;
    // After the next clone, the container sees a process with the memory and the
    // open files of the supervisor. A process without CAP_SYS_PTRACE must not trace
    // it, until execve(2) makes the program traceable again. A container's root with
    // all capabilities can trace it nevertheless. Therefore its file, /proc/PID/exe,
    // is not the host's binary: see safe_binary.rs.
    prctl::set_dumpable(false).step(|| "prctl(2) PR_SET_DUMPABLE 0")?;
    // It holds the caller's terminal. A container's root can trace it, so it must
    // not be able to inject input. The filter needs CAP_SYS_ADMIN. An ordinary user
    // gets this capability only by joining; no process in such a container can trace
    // this process.
    if rights::privileged() {
        terminal_filter::install()?;
    }
    join.go()?;
    clone(birth, CloneFlags::empty(), CloneFlags::CLONE_PARENT)
}
// ANCHOR_END: joined

fn names(flags: CloneFlags) -> impl Display {
    let names: Vec<&str> = flags.iter_names().map(|(name, _)| name).collect();
    if names.is_empty() { "no namespace".to_owned() } else { names.join("|") }
}
