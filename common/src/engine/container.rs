//! A container's life, seen from the host: create, start, wait.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::os::fd::OwnedFd;

use anyhow::{Context, Error, Result};
use nix::sched::CloneFlags;
use nix::sys::signal::Signal;
use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;

use crate::cli::step::{self, Scene, Step};
use crate::engine::enter;
use crate::engine::part::{Birth, Part};
use crate::engine::plan::{Lifetime, Plan, Session};
use crate::engine::poll_loop::Running;
use crate::engine::relay;
use crate::process::channel::{Channel, Frame};
use crate::process::child::{Child, lost};
use crate::process::clone::{self, Born};
use crate::process::poll::poll;

use crate::process::exit::{Exit, Failure};
use crate::process::program::Program;
use crate::process::signals::{CAUGHT, Signals, ends};
use crate::process::sys;
use crate::state::Name;
use crate::state::State;
use crate::state::{Home, Lock};

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
}

impl Container {
    /// A container without parts.
    #[must_use]
    pub fn new(plan: Plan) -> Container {
        Container { plan, parts: Vec::new() }
    }

    /// Add a part. The order is the order in which the walls are built.
    #[must_use]
    pub fn part(mut self, part: impl Part + 'static) -> Container {
        self.parts.push(Box::new(part));
        self
    }

    /// Give the container a directory of its own below the state directory, for
    /// the parts that keep something, and a name.
    #[must_use]
    pub fn keep(mut self, name: Option<Name>) -> Container {
        self.plan.lifetime = Lifetime::UntilExit;
        self.plan.home.name = name;
        self
    }

    /// Let what is kept stay when the program has ended: `ended` is called of the parts
    /// then, and `removed` only by who removes the container.
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

    /// Run to the end, and remove what was kept.
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
        let mut standing = Standing {
            plan: self.plan,
            parts: self.parts,
            prepared: 0,
            lock: None,
            how: Exit::NotStarted,
            settled: false,
            undone: false,
        };
        match standing.build() {
            Ok((child, channel)) => {
                Ok(Created { child, channel, standing, signals })
            }
            Err(error) => Err(standing.fall(error)),
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
    standing: Standing,
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
        let Created { signals, mut standing, channel, mut child } = self;
        let started = follow(&mut child, &channel, &signals).and_then(|fds| {
            standing.how = Exit::Unseen;
            let mut running =
                Running::new(standing.plan.home.clone(), child.pid(), fds);
            relay::serve(&mut running)?;
            standing.each("started", |part, _| part.started(&mut running))?;
            // After the parts: whoever finds this note joins by what they have noted.
            if standing.plan.lifetime == Lifetime::UntilRemoved {
                standing.plan.home.note_stays(child.pid())?;
            } else if running.joinable {
                standing.plan.home.note_goes(child.pid())?;
            }
            tell()?;
            standing.settled = standing.plan.lifetime == Lifetime::UntilRemoved;
            Ok(running)
        });
        match started {
            Ok(running) => Ok(Started { running, child, standing, signals }),
            Err(error) => {
                drop(child);
                Err(standing.fall(error))
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
    standing: Standing,
    signals: Signals,
}

impl Started {
    /// Let the program go on by itself, as [`Plan::outlives`] said that it would. Its
    /// end is not this process' to see.
    ///
    /// # Errors
    /// Those of the parts' `ended` and `removed`.
    pub fn leave(self) -> Result<()> {
        let Started { signals: _signals, mut standing, child, running } = self;
        drop(running);
        child.leave();
        standing.how = Exit::Unseen;
        standing.undo().map_or(Ok(()), Err)
    }

    /// Wait for the end, forwarding signals, serving the parts that joined the poll
    /// loop; then undo all parts and remove what was kept.
    ///
    /// # Errors
    /// The poll loop's, and those of the parts' `ended` and `removed`.
    pub fn wait(self) -> Result<Exit> {
        // Dropped in reverse: should a part panic, the terminal is restored, the
        // child killed, and then what it stood in undone.
        let Started { signals, mut standing, mut child, mut running } = self;
        step::scene(Scene { side: "parent", hook: "wait", part: "" });
        let keys_reach_child = standing.plan.session == Session::Shared;
        let waited = running.wait(&mut child, &signals, keys_reach_child);
        drop(child);
        // Before the clean-up is told of: the terminal is the user's again.
        drop(running);
        let how = match waited {
            Ok(how) => how,
            Err(error) => return Err(standing.fall(error)),
        };
        standing.how = how;
        match standing.undo() {
            None => Ok(how),
            Some(errors) => Err(errors),
        }
    }
}

/// The parts, and how far they got. Dropped early, by an error or a panic, it
/// undoes them.
struct Standing {
    plan: Plan,
    parts: Vec<Box<dyn Part>>,
    prepared: usize,
    lock: Option<Lock>,
    how: Exit,
    /// What is kept stays: the start is over, and was asked to leave something.
    settled: bool,
    undone: bool,
}

impl Standing {
    fn build(&mut self) -> Result<(Child, Channel)> {
        step::scene(Scene { side: "parent", hook: "prepare", part: "home" });
        if self.plan.lifetime != Lifetime::NoFiles {
            self.sweep()?;
            let names: Vec<&str> = self.parts.iter().map(|p| p.name()).collect();
            self.lock = Some(self.plan.home.make(&names)?);
        }
        for index in 0..self.parts.len() {
            // Counted before it is called: a part that fails half-way is undone.
            self.prepared = index + 1;
            let part = &mut self.parts[index];
            step::scene(Scene {
                side: "parent",
                hook: "prepare",
                part: part.name(),
            });
            let name = part.name();
            part.prepare(&mut self.plan)
                .with_context(|| format!("prepare {name}"))?;
        }
        let none = CloneFlags::empty();
        let mut birth = Birth { namespaces: none, cgroup: None, join: None };
        for part in &self.parts {
            part.birth(&mut birth);
        }
        step::scene(Scene { side: "parent", hook: "clone", part: "" });
        // Who joins a container has company in it.
        let program = Program::new(&self.plan, birth.join.is_some())?;
        let (child, channel) = match clone::make(&birth)? {
            Born::Parent(child, channel) => (child, channel),
            Born::Child(channel) => {
                // The lock says that the host side lives, which this is not.
                self.lock = None;
                enter::main(&self.plan, &self.parts, program, channel)
            }
        };
        self.each("attach", |part, plan| part.attach(plan, child.pid()))?;
        Ok((child, channel))
    }

    /// Call one hook of every part, in order.
    fn each(
        &mut self,
        hook: &'static str,
        mut call: impl FnMut(&mut dyn Part, &Plan) -> Result<()>,
    ) -> Result<()> {
        for part in &mut self.parts {
            let name = part.name();
            step::scene(Scene { side: "parent", hook, part: name });
            call(part.as_mut(), &self.plan)
                .with_context(|| format!("{hook} {name}"))?;
        }
        Ok(())
    }

    /// Undo everything that dead containers left. What can't be undone now, the next
    /// run tries again: it is no reason not to run this one.
    fn sweep(&self) -> Result<()> {
        for dead in self.plan.home.state.dead()? {
            // A chapter that does not know all parts of a container would leave
            // theirs behind, unfindable: it leaves the whole to one that does.
            let known = |name: &String| self.parts.iter().any(|p| p.name() == name);
            if !dead.parts.iter().all(known) {
                continue;
            }
            let home = &dead.home;
            let mut errors = Vec::new();
            ended(&self.parts, home, Exit::Unseen, &mut errors);
            if dead.stays {
                let_go(home, &mut errors);
            } else {
                removed(&self.parts, home, &mut errors);
                forget(home, &mut errors);
            }
            if let Some(error) = step::join_errors(errors.into_iter().map(Err)).err()
            {
                let error = error.context(format!("sweep container {}", home.id));
                let text = step::report(&error);
                // A closed stderr is no reason either.
                let _ = writeln!(
                    io::stderr(),
                    "warning: {text}\nhint: the next run tries again"
                );
            }
        }
        Ok(())
    }

    /// Undo what stands, once. What goes wrong is given back as one error.
    fn undo(&mut self) -> Option<Error> {
        if self.undone {
            return None;
        }
        self.undone = true;
        let mut errors = Vec::new();
        let (home, parts) = (&self.plan.home, &self.parts[..self.prepared]);
        ended(parts, home, self.how, &mut errors);
        if self.settled {
            let_go(home, &mut errors);
        } else {
            removed(parts, home, &mut errors);
            if self.plan.lifetime != Lifetime::NoFiles {
                forget(home, &mut errors);
            }
        }
        self.lock = None;
        step::join_errors(errors.into_iter().map(Err)).err()
    }

    /// Undo what stands because of an error, which is given back.
    fn fall(mut self, error: Error) -> Error {
        match self.undo() {
            None => error,
            Some(also) => {
                let code = crate::process::exit::code_of(&error);
                let error = step::report(&error);
                let also = step::report(&also);
                Failure { code, text: format!("{error}\nand then: {also}") }.into()
            }
        }
    }
}

impl Drop for Standing {
    fn drop(&mut self) {
        // Only a panic or a caller that drops a container unrun comes here with
        // something left, and neither has anybody to give an error to.
        let _ = self.undo();
    }
}

/// `ended` of every part in reverse; all are tried.
fn ended(parts: &[Box<dyn Part>], home: &Home, how: Exit, errors: &mut Vec<Error>) {
    for part in parts.iter().rev() {
        let name = part.name();
        step::scene(Scene { side: "parent", hook: "ended", part: name });
        let ended = part.ended(home, how);
        errors.extend(ended.err().map(|e| e.context(format!("ended {name}"))));
    }
}

/// `removed` of every part in reverse; all are tried.
fn removed(parts: &[Box<dyn Part>], home: &Home, errors: &mut Vec<Error>) {
    for part in parts.iter().rev() {
        let name = part.name();
        step::scene(Scene { side: "parent", hook: "removed", part: name });
        let removed = part.removed(home);
        errors.extend(removed.err().map(|e| e.context(format!("removed {name}"))));
    }
}

/// Let a container that has ended be, unless something could not be undone: the lock
/// file is what the next run finds it by, and tries again.
fn let_go(home: &Home, errors: &mut Vec<Error>) {
    if errors.is_empty() {
        errors.extend(home.let_go().err());
    }
}

/// Remove all of a container, under the same condition.
fn forget(home: &Home, errors: &mut Vec<Error>) {
    if errors.is_empty() {
        step::scene(Scene { side: "parent", hook: "removed", part: "home" });
        errors.extend(home.remove().err());
    }
}
