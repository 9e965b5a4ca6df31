//! How the child comes into the world: by one clone, or by two into a container that is
//! there already.
//!
//! A process can't move into a PID namespace, only its children are born there
//! (pid_namespaces(7)). So who joins a container takes an intermediate:
//!
//! ```text
//! parent ── clone3 ── intermediate: setns(2) ── clone3 CLONE_PARENT ── child
//!    │                    │ Born: pid, pidfd                             │
//!    │ ◀──────────────────┘ _exit(2)                                     │
//!    └ reaps both ◀──────────────────────────────────────────────────────┘
//! ```
//!
//! By CLONE_PARENT the child is the parent's own, as in the plain case: nobody stands
//! between the two, and nobody has to hand an exit code on.

use std::fmt::Display;
use std::os::fd::AsFd;
use std::panic;
use std::time::Duration;

use anyhow::Result;
use nix::sched::CloneFlags;
use nix::sys::prctl;
use rustix::event::{PollFd, PollFlags};

use crate::cli::hints;
use crate::cli::step::{self, Hint, Scene, Step};
use crate::engine::part::{Birth, Join};
use crate::process::channel::{Channel, Frame};
use crate::process::child::{Child, lost};
use crate::process::exit::{Failure, OURS, code_of};
use crate::process::poll::poll;
use crate::process::signals::die_with_parent;
use crate::process::sys::{self, Side};
use crate::process::{rights, terminal_filter};

/// Which side of the clone this is, and its end of the channel.
pub(crate) enum Born {
    /// Here the child was made, and is held.
    Parent(Child, Channel),
    /// This is the child.
    Child(&'static Channel),
}

/// Make the child.
pub(crate) fn make(birth: &Birth) -> Result<Born> {
    step::scene(Scene { side: "parent", hook: "clone", part: "" });
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
    match told(side, || "clone3(2) of an intermediate".to_owned())? {
        Side::Parent(pid, pidfd) => {
            drop(theirs);
            let child = handed_up(Child::new(pid, pidfd), &ours)?;
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
    told(side, || format!("clone3(2) {}", names(namespaces | extra)))
        .hint(|errno| hints::clone(errno, namespaces))
}

/// A step that both sides come out of; one tells of it.
fn told(side: nix::Result<Side>, text: impl FnOnce() -> String) -> Result<Side> {
    match side {
        Ok(Side::Child) => Ok(Side::Child),
        side => side.step(text),
    }
}

/// Wait for the child that an intermediate makes.
fn handed_up(mut intermediate: Child, channel: &Channel) -> Result<Child> {
    loop {
        let fds = [channel.as_fd(), intermediate.pidfd().as_fd()];
        let mut fds = fds.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN));
        poll(&mut fds, None)?;
        let ended = !fds[1].revents().is_empty();
        if ended {
            // It may have said something between the looks at the one and the other.
            poll(&mut fds, Some(Duration::ZERO))?;
        }
        match (fds[0].revents().is_empty(), ended) {
            (false, _) => {}
            (true, false) => continue,
            // Killed when it had made its child: that one has the channel's other end
            // too, and waits at it, so no end of file comes.
            (true, true) => return Err(lost(intermediate.reap()?)),
        }
        match channel.receive() {
            Ok(Some(Frame::Step(line))) => step::say(&line),
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

/// The intermediate's whole life; only its child comes back from here.
fn intermediate(birth: &Birth, join: &Join, channel: &'static Channel) {
    // Unwinding would run the parent's destructors.
    panic::set_hook(Box::new(|_| sys::leave(OURS)));
    step::narrate_by(move |line| {
        let _ = channel.send(&Frame::Step(line.to_owned()));
    });
    step::scene(Scene { side: "child", hook: "join", part: "" });
    let told = match joined(birth, join) {
        Ok(Side::Child) => return,
        Ok(Side::Parent(pid, pidfd)) => Frame::Born(pid, pidfd),
        Err(error) => {
            Frame::Refused { code: code_of(&error), text: step::report(&error) }
        }
    };
    // A parent that is gone needs nothing more; the child notices by itself.
    let _ = channel.send(&told);
    sys::leave(OURS)
}

// ANCHOR: joined
fn joined(birth: &Birth, join: &Join) -> Result<Side> {
    die_with_parent()?;
    // From the next clone on, the container sees a process with the memory and the open
    // files of the host side. A process without CAP_SYS_PTRACE must not trace it, until
    // execve(2) makes the program traceable again. A container's root with all
    // capabilities may trace it nevertheless. So its file, /proc/PID/exe, is not the host's binary: see safe_binary.rs.
    prctl::set_dumpable(false).step(|| "prctl(2) PR_SET_DUMPABLE 0")?;
    // It holds the caller's terminal. A container's root may trace it, so it must not be
    // able to type. An ordinary user gets CAP_SYS_ADMIN, which the filter needs, only by
    // joining; nobody in such a container may trace this process.
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
