//! Create the child. A new container needs one clone3(2), and an existing container
//! needs two.
//!
//! A process cannot move into a PID namespace: only its children are created there
//! (pid_namespaces(7)). A process that joins a container therefore needs an
//! intermediate:
//!
//! ```text
//! parent ── clone3 ── intermediate: setns(2) ── clone3 CLONE_PARENT ── child
//!    │                    │ Cloned: pid, pidfd                           │
//!    │ ◀──────────────────┘ _exit(2)                                     │
//!    └ reaps both ◀──────────────────────────────────────────────────────┘
//! ```
//!
//! With CLONE_PARENT, the child is the parent's own child, as in a new container.
//! The parent therefore gets the exit status directly.

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
use crate::engine::part::{CloneArgs, Join};
use crate::process::channel::{Channel, Frame};
use crate::process::child::{Child, lost};
use crate::process::exit::{Failure, RUNTIME_ERROR, code_of};
use crate::process::poll::poll;
use crate::process::signals::die_with_parent;
use crate::process::sys::{self, Side};
use crate::process::{rights, terminal_filter};

/// The process that returned from the clone, with its end of the channel.
pub(crate) enum Cloned {
    /// The parent, whose child waits at the barrier.
    Parent(Child, Channel),
    /// The child.
    Child(&'static Channel),
}

/// Create the child.
pub(crate) fn make(args: &CloneArgs) -> Result<Cloned> {
    step::set_position(Position { side: "parent", hook: "clone", part: "" });
    let (ours, theirs) = Channel::pair().step(|| "socketpair(2)")?;
    sys::assert_one_thread()?;
    let Some(join) = &args.join else {
        return Ok(match clone(args, args.namespaces, CloneFlags::empty())? {
            Side::Parent(pid, pidfd) => Cloned::Parent(Child::new(pid, pidfd), ours),
            Side::Child => Cloned::Child(Box::leak(Box::new(theirs))),
        });
    };
    let none = CloneFlags::empty();
    let side = sys::clone3(none, none, None);
    match traced_by_parent(side, || "clone3(2) of an intermediate".to_owned())? {
        Side::Parent(pid, pidfd) => {
            drop(theirs);
            let mut child = receive_child(Child::new(pid, pidfd), &ours)?;
            child.thawed.clone_from(&args.thawed);
            Ok(Cloned::Parent(child, ours))
        }
        Side::Child => {
            drop(ours);
            let theirs = Box::leak(Box::new(theirs));
            intermediate(args, join, theirs);
            Ok(Cloned::Child(theirs))
        }
    }
}

fn clone(
    args: &CloneArgs,
    namespaces: CloneFlags,
    extra: CloneFlags,
) -> Result<Side> {
    let cgroup = args.cgroup.as_ref().map(AsFd::as_fd);
    let side = sys::clone3(namespaces, extra, cgroup);
    traced_by_parent(side, || format!("clone3(2) {}", names(namespaces | extra)))
        .hint(|errno| hints::clone(errno, namespaces))
}

/// Trace a clone3(2) call. Both processes return from it, but only the parent traces
/// it.
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
            // has the channel's other end open, so no end of file arrives.
            (true, true) => return Err(lost(intermediate.reap()?)),
        }
        match channel.receive() {
            Ok(Some(Frame::Step(line))) => step::print_trace(&line),
            Ok(Some(Frame::Cloned(pid, pidfd))) => {
                return Ok(Child::from_intermediate(pid, pidfd, intermediate));
            }
            Ok(Some(Frame::Refused { code, text })) => {
                return Err(Failure { code, text }.into());
            }
            _ => return Err(lost(intermediate.reap()?)),
        }
    }
}

/// The whole life of the intermediate process. It ends here; only its child returns.
fn intermediate(args: &CloneArgs, join: &Join, channel: &'static Channel) {
    // Unwinding would run the parent's destructors.
    panic::set_hook(Box::new(|_| sys::exit_now(RUNTIME_ERROR)));
    step::redirect_trace(move |line| {
        let _ = channel.send(&Frame::Step(line.to_owned()));
    });
    step::set_position(Position { side: "child", hook: "join", part: "" });
    let frame = match joined(args, join) {
        Ok(Side::Child) => return,
        Ok(Side::Parent(pid, pidfd)) => Frame::Cloned(pid, pidfd),
        Err(error) => {
            Frame::Refused { code: code_of(&error), text: step::report(&error) }
        }
    };
    // If the parent has ended, nothing is left to do; the child detects it by
    // itself.
    let _ = channel.send(&frame);
    sys::exit_now(RUNTIME_ERROR)
}

// ANCHOR: joined
fn joined(args: &CloneArgs, join: &Join) -> Result<Side> {
    die_with_parent()?;
    // After the next clone, the container sees a process with the memory and the
    // open files of the supervisor. A process without CAP_SYS_PTRACE must not trace
    // it, until execve(2) makes the program traceable again. A container's root with
    // all capabilities can trace it nevertheless. Therefore its file, /proc/PID/exe,
    // is not the host's binary: see safe_binary.rs.
    prctl::set_dumpable(false).step(|| "prctl(2) PR_SET_DUMPABLE 0")?;
    // The process has the caller's terminal open. A container's root can trace it,
    // so it must not be able to inject input. The filter needs CAP_SYS_ADMIN. An
    // ordinary user gets this capability only by joining; no process in such a
    // container can trace this process.
    if rights::privileged() {
        terminal_filter::install()?;
    }
    join.run()?;
    clone(args, CloneFlags::empty(), CloneFlags::CLONE_PARENT)
}
// ANCHOR_END: joined

fn names(flags: CloneFlags) -> impl Display {
    let names: Vec<&str> = flags.iter_names().map(|(name, _)| name).collect();
    if names.is_empty() { "no namespace".to_owned() } else { names.join("|") }
}
