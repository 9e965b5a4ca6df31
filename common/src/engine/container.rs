//! A container's life, seen from the host: create, start, wait.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;

use anyhow::{Error, Result};
use nix::sys::signal::Signal;
use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;

use crate::cli::step::{self, Scene, Step};
use crate::engine::lifecycle::Lifecycle;
use crate::engine::part::Part;
use crate::engine::plan::{Lifetime, Plan, Session};
use crate::engine::poll_loop::Running;
use crate::engine::relay;
use crate::process::channel::{Channel, Frame};
use crate::process::child::{Child, lost};
use crate::process::poll::poll;

use crate::process::exit::{Exit, Failure, OURS};
use crate::process::signals::{CAUGHT, Signals, ends};
use crate::process::sys;
use crate::state::{Name, State, Table};

/// A container to be: a command and the parts around it.
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

    /// Add a part. The order is the order in which the walls are built.
    #[must_use]
    pub fn part(mut self, part: impl Part + 'static) -> Container {
        self.parts.push(Box::new(part));
        self
    }

    /// Give the container a directory of its own below the state directory, for
    /// the parts that keep something, and a name. Dead containers are swept by the table.
    #[must_use]
    pub fn keep(mut self, name: Option<Name>, table: Table) -> Container {
        self.table = table;
        self.plan.lifetime = Lifetime::UntilExit;
        self.plan.home.name = name;
        self
    }

    /// Keep the container's files when the program has ended, until a command removes
    /// them. Only the parts' `ended` is called then, and not `removed`.
    #[must_use]
    pub fn stay(mut self) -> Container {
        self.plan.lifetime = Lifetime::UntilRemoved;
        self
    }

    /// Where images, layers and the container's own directory lie.
    #[must_use]
    pub fn state(&self) -> &State {
        &self.plan.home.state
    }

    /// Run to the end, and remove the container's files unless they are to stay.
    ///
    /// # Errors
    /// Any part's, any system call's; by then all is undone.
    pub fn run(self) -> Result<Exit> {
        self.create()?.start()?.wait()
    }

    /// Prepare all parts and make the child, which waits at the barrier.
    ///
    /// # Errors
    /// Any part's `prepare` or `attach`, and clone(2)'s; by then all is undone.
    pub fn create(self) -> Result<Created> {
        // A caller may ignore SIGCHLD, and exec keeps that; the kernel would then
        // reap the child before anybody learns how it ended.
        sys::default_signal(Signal::SIGCHLD);
        let signals = Signals::catch(CAUGHT)?;
        let mut lifecycle = Lifecycle::new(self.plan, self.parts, self.table);
        match lifecycle.build() {
            Ok((child, channel)) => {
                Ok(Created { child, channel, lifecycle, signals })
            }
            Err(error) => Err(lifecycle.fall(error)),
        }
    }
}

/// A container whose child is made and held: its namespaces are there, its program
/// is not yet.
///
/// Dropped, it kills the child first and then undoes the parts.
pub struct Created {
    // Fields are dropped in this order: the child goes before what it stands in.
    child: Child,
    channel: Channel,
    lifecycle: Lifecycle,
    signals: Signals,
}

impl Created {
    /// Let the child through the barrier and see its program start.
    ///
    /// # Errors
    /// Any part's `enter` or `started`; a program that isn't there (127) or can't
    /// be executed (126); a signal that came meanwhile (128 + its number).
    pub fn start(self) -> Result<Started> {
        self.start_and(|| Ok(()))
    }

    /// The same, where `tell` comes last: should it fail, nothing was started.
    pub(crate) fn start_and(
        self,
        tell: impl FnOnce() -> Result<()>,
    ) -> Result<Started> {
        // Dropped in reverse: should a part panic, the child goes before the rest.
        let Created { signals, mut lifecycle, channel, mut child } = self;
        let started = follow(&mut child, &channel, &signals).and_then(|fds| {
            lifecycle.how = Exit::Unseen;
            let mut running =
                Running::new(lifecycle.plan.home.clone(), child.pid(), fds);
            relay::serve(&mut running)?;
            lifecycle.each("started", |part, _| part.started(&mut running))?;
            // After the parts: a process that finds this note joins by what they noted.
            let kept = lifecycle.plan.lifetime == Lifetime::UntilRemoved;
            if kept || running.joinable {
                lifecycle.plan.home.note_process(child.pid(), kept)?;
            }
            tell()?;
            lifecycle.settled = lifecycle.plan.lifetime == Lifetime::UntilRemoved;
            Ok(running)
        });
        match started {
            Ok(running) => Ok(Started { running, child, lifecycle, signals }),
            Err(error) => {
                drop(child);
                Err(lifecycle.fall(error))
            }
        }
    }
}

/// Release the child and read its frames until the program runs.
fn follow(
    child: &mut Child,
    channel: &Channel,
    signals: &Signals,
) -> Result<BTreeMap<String, OwnedFd>> {
    let mut fds = BTreeMap::new();
    let mut exec = false;
    // One that has come by now is heard, however quick the child is.
    while let Some((signal, _)) = signals.next()? {
        if ends(signal) {
            return Err(interrupted(signal));
        }
    }
    step::scene(Scene { side: "parent", hook: "release", part: "" });
    step::tell(&"all parts are attached, the barrier opens");
    let mut alive = match channel.send(&Frame::Go) {
        // The child is gone, and may have said why.
        Err(Errno::PIPE) => false,
        // One that was not told to go would wait for it, and we for the child.
        sent => sent.look(|| "sendmsg(2) to open the barrier").map(|()| true)?,
    };
    loop {
        let mut polled = [
            PollFd::new(channel, PollFlags::IN),
            PollFd::new(signals, PollFlags::IN),
        ];
        poll(&mut polled, None)?;
        let [message, signal] = polled.map(|fd| !fd.revents().is_empty());
        // Frames first: they may say that the program runs already, and then the
        // signal is for it, and stays where it is.
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
            // A frame that isn't ours: as good as no child.
            Err(Errno::PROTO) => {
                alive = false;
                None
            }
            frame => frame.look(|| "recvmsg(2) from the child")?,
        };
        match frame {
            Some(Frame::Step(line)) => step::say(&line),
            Some(Frame::Descriptor(part, fd)) => drop(fds.insert(part, fd)),
            Some(Frame::Refused { code, text }) => {
                return Err(Failure { code, text }.into());
            }
            Some(Frame::Exec) => exec = true,
            Some(Frame::Go | Frame::Born(..)) => {}
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
    Failure { code, text: format!("{signal} came before the program started") }
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
    /// Let the program go on by itself, as [`Plan::on_parent_death`] says. This
    /// process does not see its end.
    ///
    /// # Errors
    /// Those of the parts' `ended` and `removed`.
    pub fn leave(self) -> Result<()> {
        let Started { signals: _signals, mut lifecycle, child, running } = self;
        drop(running);
        child.leave();
        lifecycle.how = Exit::Unseen;
        lifecycle.undo().map_or(Ok(()), Err)
    }

    /// Wait for the end, forwarding signals, serving the parts that joined the poll
    /// loop; then undo all parts, and remove the files unless they are to stay.
    ///
    /// # Errors
    /// The poll loop's, and those of the parts' `ended` and `removed`.
    pub fn wait(self) -> Result<Exit> {
        // Dropped in reverse: should a part panic, the terminal is restored, the
        // child killed, and then what it stood in undone.
        let Started { signals, mut lifecycle, mut child, mut running } = self;
        step::scene(Scene { side: "parent", hook: "wait", part: "" });
        let keys_reach_child = lifecycle.plan.session == Session::Shared;
        let waited = running.wait(&mut child, &signals, keys_reach_child);
        drop(child);
        // Before the clean-up is told of: the terminal is the user's again.
        drop(running);
        let (how, finished) = match waited {
            Ok(ended) => ended,
            Err(error) => return Err(lifecycle.fall(error)),
        };
        lifecycle.how = how;
        let printed = finished.map_err(|error| output_lost(&error, how));
        let undone = lifecycle.undo().map_or(Ok(()), Err);
        step::join_errors([undone, printed]).map(|()| how)
    }
}

/// The program ran, and its output was not written. Its own exit status is kept if it
/// says that the program failed.
fn output_lost(error: &Error, how: Exit) -> Error {
    let code = if how.code() == 0 { OURS } else { how.code() };
    Failure { code, text: step::report(error) }.into()
}
