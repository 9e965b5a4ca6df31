//! The child: what it does between clone and exec, and how its parent holds it.

use std::cell::RefCell;
use std::os::fd::OwnedFd;
use std::panic;

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::sys::prctl;
use nix::sys::signal::Signal;
use nix::sys::stat::{Mode, umask};
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use nix::unistd::{Gid, Pid, chdir, setgroups};
use rustix::process::pidfd_send_signal;

use crate::cli::step::{self, Scene, Step};
use crate::engine::part::{Part, Plan, Up};
use crate::process::channel::{Channel, Frame};
use crate::process::exit::{Exit, OURS, code_of};
use crate::process::program::Program;
use crate::process::sys;

/// The child's whole life before exec. It never returns into the parent's code,
/// whose destructors are not its own.
pub(crate) fn main(
    plan: &Plan,
    parts: &[Box<dyn Part>],
    program: Program,
    channel: &'static Channel,
) -> ! {
    let refuse = |code, text: String| -> ! {
        // When the parent is gone there is nobody left to tell.
        let _ = channel.send(&Frame::Refused { code, text });
        sys::leave(code)
    };
    // A panic says what it has to say and leaves from here: unwinding would run
    // the parent's destructors in the child.
    panic::set_hook(Box::new(move |panic| {
        refuse(OURS, format!("the child panicked: {panic}"))
    }));
    let Err(error) = enter(plan, parts, program, channel);
    refuse(code_of(&error), step::report(&error))
}

/// What an infallible return would be, were it stable.
enum Never {}

// ANCHOR: enter
fn enter(
    plan: &Plan,
    parts: &[Box<dyn Part>],
    mut program: Program,
    channel: &'static Channel,
) -> Result<Never> {
    step::scene(Scene { side: "child", hook: "born", part: "" });
    step::narrate_by(move |line| {
        // A parent that is gone is noticed below.
        let _ = channel.send(&Frame::Step(line.to_owned()));
    });
    die_with_parent()?;
    // The barrier. End of file: the parent died, perhaps before the line above.
    let frame = channel.receive().look(|| "recvmsg(2) at the barrier")?;
    if !matches!(frame, Some(Frame::Go)) {
        sys::leave(OURS);
    }
    sys::default_signals().step(|| "sigprocmask(2) to none")?;
    umask(Mode::from_bits_truncate(0o022));
    for part in parts {
        let name = part.name();
        step::scene(Scene { side: "child", hook: "enter", part: name });
        let up = Up { part: name, channel, late: RefCell::default() };
        part.enter(plan, &up).with_context(|| format!("enter {name}"))?;
        program.set(&up.late.into_inner())?;
    }
    step::scene(Scene { side: "child", hook: "exec", part: "" });
    drop_groups(plan)?;
    chdir(&plan.directory)
        .step(|| format!("chdir(2) {}", plan.directory.display()))?;
    sys::close_on_exec_from(3).step(|| "close_range(2) from 3, CLOEXEC")?;
    // The kernel forgets the wish at every change of credentials, so it is made
    // again after the last; who sends `Exec` then without EPIPE has a parent.
    if plan.outlives { outlive_parent() } else { die_with_parent() }?;
    step::tell(&format_args!("execve(2) {}", plan.command[0].display()));
    channel.send(&Frame::Exec).look(|| "sendmsg(2) to tell the parent of exec")?;
    program.exec()
}
// ANCHOR_END: enter

fn outlive_parent() -> Result<()> {
    prctl::set_pdeathsig(None).step(|| "prctl(2) PR_SET_PDEATHSIG none")
}

pub(crate) fn die_with_parent() -> Result<()> {
    prctl::set_pdeathsig(Signal::SIGKILL)
        .step(|| "prctl(2) PR_SET_PDEATHSIG SIGKILL")
}

/// The caller's supplementary groups are rights on the host.
fn drop_groups(plan: &Plan) -> Result<()> {
    if plan.user.is_some() {
        // Who has changed the user has set that one's.
        return Ok(());
    }
    match setgroups(&[] as &[Gid]) {
        // In a user namespace that an ordinary user made, setgroups(2) is denied
        // for good: dropping a group may open what is closed to that group.
        Err(Errno::EPERM) if plan.user_namespace => Ok(()),
        // Chapters without any wall run for anybody.
        Err(Errno::EPERM) if plan.root.is_none() => Ok(()),
        dropped => dropped.step(|| "setgroups(2) to none"),
    }
}

/// The child as its parent holds it. Dropped, it is killed and reaped.
pub(crate) struct Child {
    pid: Pid,
    pidfd: OwnedFd,
    ended: Option<Exit>,
    _intermediate: Option<Box<Child>>,
}

impl Child {
    pub(crate) fn new(pid: Pid, pidfd: OwnedFd) -> Child {
        Child { pid, pidfd, ended: None, _intermediate: None }
    }

    /// The child that an intermediate has made, which is on its way out. That it is gone
    /// nobody waits for before the child's end: taking a process' memory down takes time.
    pub(crate) fn born_of(pid: Pid, pidfd: OwnedFd, intermediate: Child) -> Child {
        let mut child = Child::new(pid, pidfd);
        child._intermediate = Some(Box::new(intermediate));
        child
    }

    pub(crate) fn pid(&self) -> Pid {
        self.pid
    }

    /// Readable when the child has ended.
    pub(crate) fn pidfd(&self) -> &OwnedFd {
        &self.pidfd
    }

    /// Send it a signal; a child that has ended takes none, and that is fine.
    pub(crate) fn signal(&self, signal: Signal) {
        let named = rustix::process::Signal::from_named_raw(signal as i32);
        let _ = named.map(|signal| pidfd_send_signal(&self.pidfd, signal));
    }

    pub(crate) fn kill(&self) {
        if self.ended.is_none() {
            self.signal(Signal::SIGKILL);
        }
    }

    /// Let it live on, as somebody else's child one day.
    pub(crate) fn leave(mut self) {
        // Nothing that is dropped kills it from here on.
        self.ended = Some(Exit::Unseen);
    }

    /// Wait for its end.
    pub(crate) fn reap(&mut self) -> Result<Exit> {
        use std::os::fd::AsFd;
        loop {
            if let Some(how) = self.ended {
                return Ok(how);
            }
            match waitid(Id::PIDFd(self.pidfd.as_fd()), WaitPidFlag::WEXITED) {
                Err(Errno::EINTR) => {}
                ended => self.ended = Some(ended.step(|| "waitid(2)")?.into()),
            }
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.kill();
        let _ = self.reap();
    }
}
