//! The one abstraction of the course: a container is a process and a stack of parts
//! around it.

use std::cell::{RefCell, RefMut};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
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

/// One aspect of a container. Each method runs in exactly one process, at one
/// moment, and its default does nothing.
///
/// | moment | where | order of the parts |
/// |---|---|---|
/// | `prepare` | parent, no child yet | as listed |
/// | `clone_args` | parent, just before the one clone | as listed |
/// | `attach` | parent, child waits at the barrier | as listed |
/// | `enter` | child, before exec | as listed |
/// | `meanwhile` | parent, at the same time as `enter`; both end before exec | as listed |
/// | `started` | parent, the program runs | as listed |
/// | `ended` | parent, the process is gone | reversed |
/// | `removed` | parent, after `ended`, if the container's files go with the program | reversed |
///
/// After any error, `ended` runs for every part whose `prepare` was called,
/// including the part that failed. `removed` runs as well, unless the container's
/// files are kept. Both may be called twice, so a resource that no longer exists is
/// not an error. If this process is killed, no process calls them. For a resource
/// that must be undone even then, the part writes a note, and a row of the binary's
/// undo table ([`Undo`](crate::state::Undo)) undoes it.
// ANCHOR: part
pub trait Part {
    /// The name in traces and errors.
    fn name(&self) -> &'static str;

    /// Compute all values that `enter` needs, and create the directories and the
    /// descriptors that must exist before the child. Check for errors as early as
    /// possible.
    ///
    /// # Errors
    /// An error ends the run before the child exists.
    fn prepare(&mut self, _plan: &mut Plan) -> Result<()> {
        Ok(())
    }

    /// Set the arguments of clone3(2): namespaces, cgroup.
    fn clone_args(&self, _args: &mut CloneArgs) {}

    /// Perform the operations on the waiting child that only the supervisor may
    /// perform.
    ///
    /// # Errors
    /// An error ends the run; the child is killed.
    fn attach(&mut self, _plan: &Plan, _child: Pid) -> Result<()> {
        Ok(())
    }

    /// Perform operations on the child at the same time as the child executes
    /// `enter`. This saves time if they are slow. The program starts after both have
    /// finished.
    ///
    /// # Errors
    /// An error ends the run; the child is killed.
    fn meanwhile(&mut self, _plan: &Plan, _child: Pid) -> Result<()> {
        Ok(())
    }

    /// Set up this part of the container, inside the process that becomes the
    /// program. It does not see what `attach` stored in the part, because the clone
    /// came before.
    ///
    /// # Errors
    /// An error ends the run; the parent reports it.
    fn enter(&self, _plan: &Plan, _link: &ParentLink) -> Result<()> {
        Ok(())
    }

    /// Take the descriptors that `enter` sent, and join the poll loop.
    ///
    /// # Errors
    /// An error ends the run; the program is killed.
    fn started(&mut self, _running: &mut Running) -> Result<()> {
        Ok(())
    }

    /// Undo resources of the host that live as long as the process.
    ///
    /// # Errors
    /// Errors are reported to the user; the other parts are still undone.
    fn ended(&self, _home: &Home, _how: Exit) -> Result<()> {
        Ok(())
    }

    /// Remove files that were kept on disk.
    ///
    /// # Errors
    /// Errors are reported to the user; the other parts are still undone.
    fn removed(&self, _home: &Home) -> Result<()> {
        Ok(())
    }
}
// ANCHOR_END: part

/// The arguments of clone3(2), which creates the child.
#[derive(Debug)]
pub struct CloneArgs {
    /// `CLONE_NEW*` flags.
    pub namespaces: CloneFlags,
    /// The directory of the cgroup v2 in which the child starts.
    pub cgroup: Option<OwnedFd>,
    /// How to enter an existing container's namespaces, instead of creating new
    /// ones.
    pub join: Option<Join>,
    /// The file `cgroup.procs` of a group of cgroup v1 that is not frozen. The child
    /// moves there when it is killed: SIGKILL does not end a process that is frozen.
    pub thawed: Option<PathBuf>,
}

/// The steps of an intermediate process that enters existing namespaces. The child
/// is then created inside these namespaces.
pub struct Join(Box<dyn Fn() -> Result<()>>);

impl Join {
    /// Join the namespaces with these steps. The container can see the process that
    /// joins and the file that it executes. This file must therefore be a
    /// [`SafeBinary`].
    pub fn new(_: SafeBinary, steps: impl Fn() -> Result<()> + 'static) -> Join {
        Join(Box::new(steps))
    }

    pub(crate) fn run(&self) -> Result<()> {
        (self.0)()
    }
}

impl fmt::Debug for Join {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("Join")
    }
}

/// The connection from a part's `enter` to its own `started`.
#[derive(Debug)]
pub struct ParentLink {
    pub(crate) part: &'static str,
    pub(crate) channel: &'static Channel,
    pub(crate) late: Rc<RefCell<BTreeMap<OsString, OsString>>>,
    pub(crate) seal: &'static RefCell<Seal>,
    pub(crate) files: Rc<RefCell<Vec<OwnedFd>>>,
}

impl ParentLink {
    /// The same connection for a part of a composite. Its descriptors have the name
    /// of this part.
    pub(crate) fn of(&self, part: &'static str) -> ParentLink {
        let (late, files) = (self.late.clone(), self.files.clone());
        ParentLink { part, channel: self.channel, late, seal: self.seal, files }
    }

    /// Send an open file.
    ///
    /// # Errors
    /// EPIPE: the supervisor has ended.
    pub fn send(&self, fd: OwnedFd) -> Result<()> {
        let frame = Frame::Descriptor(self.part.to_owned(), fd);
        self.channel.send(&frame).context("send a descriptor to the supervisor")
    }

    /// The values of the sealing steps, which run after every `enter`. A part writes
    /// the values that it can compute only inside the container here. It writes all
    /// other values to [`Plan::seal`].
    #[must_use]
    pub fn seal(&self) -> RefMut<'_, Seal> {
        self.seal.borrow_mut()
    }

    /// The files of [`Plan::files`], in that order, opened with O_PATH. The part
    /// that mounts them takes them, so that no later part can reach these files of
    /// the host.
    #[must_use]
    pub fn take_files(&self) -> Vec<OwnedFd> {
        self.files.take()
    }

    /// Set an environment variable of the program. Parts use this if they can
    /// compute the value only inside the container.
    pub fn set(&self, key: impl Into<OsString>, value: impl Into<OsString>) {
        self.late.borrow_mut().insert(key.into(), value.into());
    }
}
