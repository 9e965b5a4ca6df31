//! A container's life, seen from the host: create, start, wait.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;

use anyhow::{Error, Result};
use nix::sys::signal::Signal;
use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;

use crate::cli::step::{self, Position, Step};
use crate::engine::lifecycle::Lifecycle;
use crate::engine::part::Part;
use crate::engine::plan::{Lifetime, Plan, Session};
use crate::engine::poll_loop::Running;
use crate::engine::relay;
use crate::process::channel::{Channel, Frame};
use crate::process::child::{Child, lost};
use crate::process::poll::poll;

use crate::process::exit::{Exit, Failure, RUNTIME_ERROR};
use crate::process::signals::{CAUGHT, STOPPING, Signals, ends};
use crate::process::sys;
use crate::state::{Name, State, Table};

/// A container that does not run yet: a command and the parts around it.
///
/// ```no_run
/// # fn main() -> anyhow::Result<()> {
/// use common::Container;
///
/// let plan = common::Plan::new(vec!["sh".into()])?;
/// let exit = Container::new(plan).run()?;
/// # Ok(()) }
/// ```
pub struct Container {
    pub(crate) plan: Plan,
    pub(crate) parts: Vec<Box<dyn Part>>,
    table: Table,
}

impl Container {
    /// A container without parts.
    #[must_use]
    pub fn new(plan: Plan) -> Container {
        Container { plan, parts: Vec::new(), table: &[] }
    }

    /// Add a part. The hooks run in the order in which the parts were added.
    #[must_use]
    pub fn part(mut self, part: impl Part + 'static) -> Container {
        self.parts.push(Box::new(part));
        self
    }

    /// Give the container a name and its own directory below the state directory,
    /// for the parts that store files. `table` is used to sweep containers that have
    /// ended.
    #[must_use]
    pub fn keep(mut self, name: Option<Name>, table: Table) -> Container {
        self.table = table;
        self.plan.lifetime = Lifetime::UntilExit;
        self.plan.home.name = name;
        self
    }

    /// Keep the container's files after the program has ended, until a command
    /// removes them. When the program ends, the engine then calls the `ended` hook
    /// of each part, but not the `removed` hook.
    #[must_use]
    pub fn stay(mut self) -> Container {
        self.plan.lifetime = Lifetime::UntilRemoved;
        self
    }

    /// The state directory, with images, layers and the container's own directory.
    #[must_use]
    pub fn state(&self) -> &State {
        &self.plan.home.state
    }

    /// Run the container until its program ends, then remove its files (except after
    /// [`Container::stay`]).
    ///
    /// # Errors
    /// A hook of a part or a system call fails. Everything is undone before the
    /// error is returned.
    pub fn run(self) -> Result<Exit> {
        self.create()?.start()?.wait()
    }

    /// Prepare all parts and create the child, which waits at the barrier.
    ///
    /// # Errors
    /// `prepare` or `attach` of a part fails, or clone3(2) fails. Everything is
    /// undone before the error is returned.
    pub fn create(self) -> Result<Created> {
        // The caller may ignore SIGCHLD, and execve(2) preserves this. The kernel
        // would then reap the child, and its exit status would be lost.
        sys::default_signal(Signal::SIGCHLD);
        // A program in its own session is not a job of the caller's shell, so stop
        // signals are neither caught nor forwarded.
        let job = self.plan.session == Session::Shared;
        let stopping = STOPPING.into_iter().filter(|_| job);
        let signals = Signals::catch(CAUGHT.into_iter().chain(stopping))?;
        let mut lifecycle = Lifecycle::new(self.plan, self.parts, self.table);
        match lifecycle.build() {
            Ok((child, channel)) => {
                Ok(Created { child, channel, lifecycle, signals })
            }
            Err(error) => Err(lifecycle.undo_after(error)),
        }
    }
}

/// A container whose child exists and waits at the barrier: its namespaces exist,
/// its program does not run yet.
///
/// When it is dropped, it kills the child and then undoes the parts.
pub struct Created {
    // Fields are dropped in this order: the child must end before the parts around
    // it are undone.
    child: Child,
    channel: Channel,
    lifecycle: Lifecycle,
    signals: Signals,
}

impl Created {
    /// Open the barrier and wait until the program runs.
    ///
    /// # Errors
    /// `enter` or `started` of a part fails; the program is not found (exit status
    /// 127) or cannot be executed (126); a signal ends the start (128 + its number).
    pub fn start(self) -> Result<Started> {
        self.start_and(|| Ok(()))
    }

    /// Like [`Created::start`], but calls `tell` as the last step. If `tell` fails,
    /// the start fails.
    pub(crate) fn start_and(
        self,
        tell: impl FnOnce() -> Result<()>,
    ) -> Result<Started> {
        // Locals are dropped in reverse order: if a part panics, the child is killed
        // before the rest is undone.
        let Created { signals, mut lifecycle, channel, mut child } = self;
        let started = (|| {
            let mut alive = release(&channel, &signals)?;
            lifecycle
                .each("meanwhile", |part, plan| part.meanwhile(plan, child.pid()))?;
            alive &= open_barrier(&channel)?;
            let fds = follow(&mut child, &channel, &signals, alive)?;
            lifecycle.how = Exit::Unseen;
            let mut running =
                Running::new(lifecycle.plan.home.clone(), child.pid(), fds);
            relay::serve(&mut running)?;
            lifecycle.each("started", |part, _| part.started(&mut running))?;
            // This note comes after the parts' notes: a process that reads it joins
            // the container, and needs the parts' notes for that.
            let kept = lifecycle.plan.lifetime == Lifetime::UntilRemoved;
            if kept || running.joinable {
                lifecycle.plan.home.note_process(child.pid(), kept)?;
            }
            tell()?;
            lifecycle.settled = lifecycle.plan.lifetime == Lifetime::UntilRemoved;
            Ok(running)
        })();
        match started {
            Ok(running) => Ok(Started { running, child, lifecycle, signals }),
            Err(error) => {
                drop(child);
                Err(lifecycle.undo_after(error))
            }
        }
    }
}

/// Open the first barrier. Returns whether the child is alive.
fn release(channel: &Channel, signals: &Signals) -> Result<bool> {
    // A signal that arrived before this point must end the start, even if the child
    // is fast.
    while let Some((signal, _)) = signals.next()? {
        if ends(signal) {
            return Err(interrupted(signal));
        }
    }
    step::set_position(Position { side: "parent", hook: "release", part: "" });
    step::trace(&"all parts are attached, the barrier opens");
    open_barrier(channel)
}

/// Let the child pass a barrier. Returns whether the child is alive.
fn open_barrier(channel: &Channel) -> Result<bool> {
    match channel.send(&Frame::Go) {
        // The child has ended, and may have sent the reason.
        Err(Errno::PIPE) => Ok(false),
        // Any other error ends the start. Otherwise the child would wait for the
        // frame, and this process would wait for the child.
        sent => sent.untraced(|| "sendmsg(2) to open the barrier").map(|()| true),
    }
}

/// Read the child's frames until the program runs.
fn follow(
    child: &mut Child,
    channel: &Channel,
    signals: &Signals,
    mut alive: bool,
) -> Result<BTreeMap<String, OwnedFd>> {
    let mut fds = BTreeMap::new();
    let mut exec = false;
    loop {
        let mut polled = [
            PollFd::new(channel, PollFlags::IN),
            PollFd::new(signals, PollFlags::IN),
        ];
        poll(&mut polled, None)?;
        let [message, signal] = polled.map(|fd| !fd.revents().is_empty());
        // Frames first: a frame may report that the program runs. A pending signal
        // is then meant for the program, and stays in the signalfd.
        if !message {
            if signal
                && let Some((signal, _)) = signals.next()?
                && ends(signal)
            {
                return Err(interrupted(signal));
            }
            continue;
        }
        let frame = match channel.receive() {
            // A frame of an unknown format: treat the child as lost.
            Err(Errno::PROTO) => {
                alive = false;
                None
            }
            frame => frame.untraced(|| "recvmsg(2) from the child")?,
        };
        match frame {
            Some(Frame::Step(line)) => step::print_trace(&line),
            Some(Frame::Descriptor(part, fd)) => drop(fds.insert(part, fd)),
            Some(Frame::Refused { code, text }) => {
                return Err(Failure { code, text }.into());
            }
            Some(Frame::Exec) => {
                exec = true;
                if step::is_tracing() {
                    alive &= open_barrier(channel)?;
                }
            }
            Some(Frame::Go | Frame::Cloned(..)) => {}
            None if exec && alive => return Ok(fds),
            None => {
                child.kill();
                return Err(lost(child.reap()?));
            }
        }
    }
}

fn interrupted(signal: Signal) -> Error {
    let code = Exit::Signal(signal).code();
    Failure { code, text: format!("{signal} arrived before the program started") }
        .into()
}

/// A container whose program runs.
pub struct Started {
    running: Running,
    child: Child,
    lifecycle: Lifecycle,
    signals: Signals,
}

impl Started {
    /// Stop waiting for the program. [`Plan::on_parent_death`] decides whether the
    /// program continues after this process has ended. This process does not learn
    /// the exit status.
    ///
    /// # Errors
    /// `ended` or `removed` of a part fails.
    pub fn disown(self) -> Result<()> {
        let Started { signals: _signals, mut lifecycle, child, running } = self;
        drop(running);
        child.disown();
        lifecycle.how = Exit::Unseen;
        lifecycle.undo().map_or(Ok(()), Err)
    }

    /// Wait for the end of the program; meanwhile forward signals and serve the
    /// parts that joined the poll loop. Then undo all parts, and remove the files
    /// (except after [`Container::stay`]).
    ///
    /// # Errors
    /// The poll loop fails, or `ended` or `removed` of a part fails.
    pub fn wait(self) -> Result<Exit> {
        // Locals are dropped in reverse order: if a part panics, first the terminal
        // is restored, then the child is killed, then the parts are undone.
        let Started { signals, mut lifecycle, mut child, mut running } = self;
        step::set_position(Position { side: "parent", hook: "wait", part: "" });
        let keys_reach_child = lifecycle.plan.session == Session::Shared;
        let waited = running.wait(&mut child, &signals, keys_reach_child);
        drop(child);
        // Restore the terminal before the clean-up prints anything.
        drop(running);
        let (how, finished) = match waited {
            Ok(ended) => ended,
            Err(error) => return Err(lifecycle.undo_after(error)),
        };
        lifecycle.how = how;
        let printed = finished.map_err(|error| output_lost(&error, how));
        let undone = lifecycle.undo().map_or(Ok(()), Err);
        step::join_errors([undone, printed]).map(|()| how)
    }
}

/// The error for a program that ran, but whose output could not be written. If the
/// program failed, the error keeps the program's exit status.
fn output_lost(error: &Error, how: Exit) -> Error {
    let code = if how.code() == 0 { RUNTIME_ERROR } else { how.code() };
    Failure { code, text: step::report(error) }.into()
}
