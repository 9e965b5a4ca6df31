//! The one abstraction of the course: a container is a process and a stack of parts
//! around it.

use std::cell::{RefCell, RefMut};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::os::fd::OwnedFd;
use std::rc::Rc;

use anyhow::{Context, Result};
use nix::sched::CloneFlags;
use nix::unistd::Pid;

use crate::engine::plan::{Plan, Seal};
use crate::engine::poll_loop::Running;
use crate::process::channel::{Channel, Frame};
use crate::process::exit::Exit;
use crate::process::safe_binary::SafeBinary;
use crate::state::Home;

/// One thing a container is made of. Each method runs in exactly one place, at one
/// moment, and does nothing unless a part says otherwise.
///
/// | moment | where | order of the parts |
/// |---|---|---|
/// | `prepare` | parent, no child yet | as listed |
/// | `birth` | parent, just before the one clone | as listed |
/// | `attach` | parent, child waits at the barrier | as listed |
/// | `enter` | child, before exec | as listed |
/// | `started` | parent, the program runs | as listed |
/// | `ended` | parent, the process is gone | reversed |
/// | `removed` | parent, after `ended`, if the container's files go with the program | reversed |
///
/// Whatever fails, `ended` runs for every part whose `prepare` was called, the one
/// that failed included; so does `removed`, unless the files are to stay. They may be called twice, and to find
/// nothing is no error. If this process is killed, nobody calls them: what must be
/// undone then is written as a note, and a row of the binary's clean-up table
/// ([`Undo`](crate::state::Undo)) undoes it.
// ANCHOR: part
pub trait Part {
    /// For narration and as context of errors.
    fn name(&self) -> &'static str;

    /// Decide all that `enter` will need, and make on the host what must be there
    /// before the child: directories, descriptors, checks.
    ///
    /// # Errors
    /// Ends the run before there is a child.
    fn prepare(&mut self, _plan: &mut Plan) -> Result<()> {
        Ok(())
    }

    /// Say what the child is to be born into.
    fn birth(&self, _birth: &mut Birth) {}

    /// Do to the held child what only the host's side may do.
    ///
    /// # Errors
    /// Ends the run; the child is killed.
    fn attach(&mut self, _plan: &Plan, _child: Pid) -> Result<()> {
        Ok(())
    }

    /// Build this part's wall around the own process. What `attach` wrote came
    /// after the fork and is not to be seen here.
    ///
    /// # Errors
    /// Ends the run; the parent tells the user.
    fn enter(&self, _plan: &Plan, _up: &Up) -> Result<()> {
        Ok(())
    }

    /// Take the descriptors that `enter` sent up, join the poll loop.
    ///
    /// # Errors
    /// Ends the run; the program is killed.
    fn started(&mut self, _running: &mut Running) -> Result<()> {
        Ok(())
    }

    /// Undo what stands on the host and lives as long as the process.
    ///
    /// # Errors
    /// Told to the user; the other parts are undone all the same.
    fn ended(&self, _home: &Home, _how: Exit) -> Result<()> {
        Ok(())
    }

    /// Remove what was kept on disk.
    ///
    /// # Errors
    /// Told to the user; the other parts are undone all the same.
    fn removed(&self, _home: &Home) -> Result<()> {
        Ok(())
    }
}
// ANCHOR_END: part

/// What the child is born into: arguments of the one clone.
#[derive(Debug)]
pub struct Birth {
    /// `CLONE_NEW*` flags.
    pub namespaces: CloneFlags,
    /// The directory of a cgroup v2.
    pub cgroup: Option<OwnedFd>,
    /// The way into somebody else's namespaces, where it is not to get new ones.
    pub join: Option<Join>,
}

/// What an intermediate process does, whose child is then born where it went.
pub struct Join(Box<dyn Fn() -> Result<()>>);

impl Join {
    /// By this way. The container sees the process that joins, and its file.
    pub fn by(_: SafeBinary, way: impl Fn() -> Result<()> + 'static) -> Join {
        Join(Box::new(way))
    }

    pub(crate) fn go(&self) -> Result<()> {
        (self.0)()
    }
}

impl fmt::Debug for Join {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("Join")
    }
}

/// The way up: what a part's `enter` may send to its own `started`.
#[derive(Debug)]
pub struct Up {
    pub(crate) part: &'static str,
    pub(crate) channel: &'static Channel,
    pub(crate) late: Rc<RefCell<BTreeMap<OsString, OsString>>>,
    pub(crate) seal: &'static RefCell<Seal>,
    pub(crate) files: Rc<RefCell<Vec<OwnedFd>>>,
}

impl Up {
    /// The same way up for a part of a composite: what it sends has its own name.
    pub(crate) fn of(&self, part: &'static str) -> Up {
        let (late, files) = (self.late.clone(), self.files.clone());
        Up { part, channel: self.channel, late, seal: self.seal, files }
    }

    /// Send an open file.
    ///
    /// # Errors
    /// EPIPE when the host side is gone.
    pub fn send(&self, fd: OwnedFd) -> Result<()> {
        let frame = Frame::Descriptor(self.part.to_owned(), fd);
        self.channel.send(&frame).context("send a descriptor up")
    }

    /// The steps that the engine takes after every `enter`. A part contributes here
    /// what it learns only inside the container; what it knows before, it writes to
    /// [`Plan::seal`].
    #[must_use]
    pub fn seal(&self) -> RefMut<'_, Seal> {
        self.seal.borrow_mut()
    }

    /// The files of [`Plan::files`], in that order, opened with O_PATH. The part that
    /// mounts them takes them: they are files of the host, so no later part gets them.
    #[must_use]
    pub fn take_files(&self) -> Vec<OwnedFd> {
        self.files.take()
    }

    /// Set a variable of the program, whose value is only to be known in the
    /// container.
    pub fn set(&self, key: impl Into<OsString>, value: impl Into<OsString>) {
        self.late.borrow_mut().insert(key.into(), value.into());
    }
}
