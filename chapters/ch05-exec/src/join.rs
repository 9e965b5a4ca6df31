//! The part that joins a container.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::rc::Rc;

use anyhow::{Result, bail};
use ch02_setns::KINDS;
use ch04_pivot_root::own_null;
use common::state::Record;
use common::step::{Hint, Step};
use common::{
    CloneArgs, Join, ParentLink, Part, Plan, Process, Root, SafeBinary, Users,
};
use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sched::{CloneFlags, setns};
use nix::sys::stat::Mode;
use nix::unistd::{Gid, Pid, Uid, chroot, fchdir, setgid, setuid};

use crate::groups::Groups;

/// The part that joins the namespaces, the groups and the root directory of a
/// running program, and uses its environment.
///
/// # Source
/// setns(2), "fd refers to a PID file descriptor"
#[derive(Debug)]
pub struct Inside {
    record: Record,
    process: Rc<Process>,
    environment: BTreeMap<OsString, OsString>,
    directory: Option<PathBuf>,
    binary: SafeBinary,
    groups: Groups,
    root: Option<OwnedFd>,
    user_namespace: bool,
    join: RefCell<Option<Join>>,
    cgroup_dir: RefCell<Option<OwnedFd>>,
}

impl Inside {
    /// Create the part for the container of this record. `process` is its program. A
    /// `directory` replaces the container's working directory.
    #[must_use]
    pub(crate) fn new(
        record: Record,
        process: Rc<Process>,
        environment: BTreeMap<OsString, OsString>,
        directory: Option<PathBuf>,
        binary: SafeBinary,
        groups: Groups,
    ) -> Inside {
        Inside {
            record,
            process,
            environment,
            directory,
            binary,
            groups,
            root: None,
            user_namespace: false,
            join: RefCell::default(),
            cgroup_dir: RefCell::default(),
        }
    }

    /// The kinds of namespaces in which the container differs from this process. The
    /// others must be left out, because a process cannot join its own user
    /// namespace.
    fn namespaces(&self) -> Result<CloneFlags> {
        let pid = self.process.pid;
        let mut found = CloneFlags::empty();
        for kind in KINDS {
            let theirs = format!("/proc/{pid}/ns/{}", kind.file);
            let theirs = match fs::read_link(&theirs) {
                // This kernel does not have this kind of namespace.
                Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
                link => link
                    .untraced(|| format!("readlink(2) {theirs}"))
                    .hint(|errno| foreign(errno, pid))?,
            };
            let own = format!("/proc/self/ns/{}", kind.file);
            if fs::read_link(&own).untraced(|| format!("readlink(2) {own}"))?
                != theirs
            {
                found |= kind.flag;
            }
        }
        Ok(found)
    }
}

// ANCHOR: part
impl Part for Inside {
    fn name(&self) -> &'static str {
        "inside"
    }

    fn prepare(&mut self, plan: &mut Plan) -> Result<()> {
        self.binary.trace();
        let record = &self.record;
        plan.environment = std::mem::take(&mut self.environment);
        let home = OsString::from("HOME");
        plan.home_is_set = plan.environment.contains_key(&home);
        plan.environment.entry(home).or_insert_with(|| "/root".into());
        plan.directory = self.directory.take().unwrap_or(record.directory.clone());
        let root = PathBuf::from(format!("/proc/{}/root", self.process.pid));
        let namespaces = self.namespaces()?;
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let opened = open(&root, flags, Mode::empty());
        self.root = Some(opened.untraced(|| format!("open(2) {}", root.display()))?);
        // The files above were found by the PID. If the process is still alive, the
        // PID was not used again in the meantime.
        if self.process.has_ended() {
            bail!("its program has just ended");
        }
        plan.root = Root::Joined(root);
        self.user_namespace = namespaces.contains(CloneFlags::CLONE_NEWUSER);
        if self.user_namespace {
            plan.users = Users::Nested;
        }
        let pidfd = self.process.fd.try_clone().untraced(|| "fcntl(2) F_DUPFD")?;
        self.join
            .replace(Some(Join::new(self.binary, move || join(&pidfd, namespaces))));
        self.cgroup_dir.replace(self.groups.cgroup_dir.take());
        Ok(())
    }

    fn clone_args(&self, args: &mut CloneArgs) {
        args.join = self.join.take();
        args.cgroup = self.cgroup_dir.take();
        args.thawed.clone_from(&self.groups.thawed);
    }

    fn enter(&self, _plan: &Plan, _link: &ParentLink) -> Result<()> {
        self.groups.enter()?;
        // setns(2) sets the root directory to that of the mount namespace. A
        // container with --chroot has another root directory.
        if let Some(root) = &self.root {
            fchdir(root).step(|| "fchdir(2) to the container's root")?;
            chroot(".").step(|| "chroot(2) .")?;
        }
        own_null()?;
        if self.user_namespace { be_root() } else { Ok(()) }
    }
}
// ANCHOR_END: part

// ANCHOR: join
/// Join all namespaces in one call: the user namespace gives the capabilities that
/// the other namespaces require.
fn join(process: &OwnedFd, namespaces: CloneFlags) -> Result<()> {
    let names: Vec<_> = namespaces.iter_names().map(|(name, _)| name).collect();
    setns(process, namespaces)
        .step(|| format!("setns(2) {}", names.join("|")))
        .hint(why)
}
// ANCHOR_END: join

/// # Source
/// ptrace(2), "PTRACE_MODE_READ_FSCREDS": the process must belong to the same user,
/// in the same user namespace or one below it
fn foreign(errno: Errno, pid: Pid) -> Option<String> {
    (errno == Errno::EACCES).then(|| {
        format!(
            "process {pid} belongs to another user, or to a user namespace that is not \
             below this one: use exec where the container was started, or as the host's \
             root"
        )
    })
}

fn why(errno: Errno) -> Option<String> {
    (errno == Errno::EPERM).then(|| {
        "setns(2) requires the rights of the user that created the container: use \
         that user, or root"
            .to_owned()
    })
}

/// Become root in the user namespace. A user that is not mapped has the overflow ID
/// there.
fn be_root() -> Result<()> {
    let tolerated = |done: nix::Result<()>, call: &str| match done {
        // If no user is mapped, root is not mapped either.
        Err(Errno::EINVAL | Errno::EPERM) => Ok(()),
        done => done.step(|| call.to_owned()),
    };
    tolerated(setgid(Gid::from_raw(0)), "setgid(2) 0")?;
    tolerated(setuid(Uid::from_raw(0)), "setuid(2) 0")
}
