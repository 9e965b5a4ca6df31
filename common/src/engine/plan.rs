//! The values that describe a container. The engine takes them instead of a command
//! line.

use std::collections::BTreeMap;
use std::env;
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use rustix::thread::CapabilitySet;

use crate::cli::step::Step;
use crate::process::{environment, rights};
use crate::state::{Home, Id, State};

/// The description of a container. Parts add to it in `prepare`; it is constant
/// after the clone.
#[derive(Clone, Debug)]
pub struct Plan {
    /// ID, name and state directory.
    pub home: Home,
    /// The program and its arguments, as arbitrary bytes. Never empty.
    pub command: Vec<OsString>,
    /// The program's whole environment.
    pub environment: BTreeMap<OsString, OsString>,
    /// Whether the caller or the image has set HOME. If not, HOME becomes the home
    /// directory of the program's user.
    pub home_is_set: bool,
    /// The program's working directory: a path inside the container.
    pub directory: PathBuf,
    /// Where the program's root filesystem comes from.
    pub root: Root,
    /// The user namespace in which the program runs.
    pub users: Users,
    /// How long the container's files exist.
    pub lifetime: Lifetime,
    /// The session and the controlling terminal that the program gets.
    pub session: Session,
    /// Whether the caller waits only until the program runs, and not until it ends.
    pub detached: bool,
    /// What happens to the program when this process ends.
    pub on_parent_death: OnParentDeath,
    /// Files that the host keeps for the container. They are mounted before the
    /// volumes.
    pub files: Vec<OwnFile>,
    /// The user as the caller wrote it, for the record; `None` means root.
    pub user: Option<String>,
    /// The user that the image specifies. The part that changes the user applies it
    /// if the caller specifies no user.
    pub image_user: Option<String>,
    /// The values of the sealing steps; see [`Seal`].
    pub seal: Seal,
}

/// The program's root filesystem.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Root {
    /// The host's own root.
    Host,
    /// A new root, which the parts assemble at this host path.
    Assembled(PathBuf),
    /// The root of a running container: `/proc/PID/root`.
    Joined(PathBuf),
}

impl Root {
    /// The host path at which the new root is assembled.
    ///
    /// # Errors
    /// The container has no new root: the part that assembles it is missing, or
    /// comes later in the list.
    pub fn assembled(&self) -> Result<&Path> {
        match self {
            Root::Assembled(at) => Ok(at),
            other => bail!("the new root filesystem is not ready ({other:?})"),
        }
    }
}

/// A file of the host that is mounted at a path of the container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnFile {
    /// The file, as an absolute host path.
    pub host: PathBuf,
    /// The path inside the container. A symlink of the image at this path is
    /// replaced, not followed.
    pub guest: PathBuf,
}

/// The user namespace of the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Users {
    /// The initial user namespace: UID 0 is the host's root.
    Initial,
    /// Another user namespace. The program cannot create device nodes. It may also
    /// be impossible to drop a group, because a group may deny access.
    ///
    /// # Source
    /// user_namespaces(7)
    Nested,
}

/// How long the container's directory and record exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lifetime {
    /// The container has no files of its own.
    NoFiles,
    /// The files are removed when the program ends.
    UntilExit,
    /// The files are kept until another command removes them.
    UntilRemoved,
}

/// The session of the program.
///
/// # Source
/// credentials(7), "Sessions"
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Session {
    /// The caller's session: keys such as Ctrl-C signal the program directly, and
    /// the caller's terminal is the program's controlling terminal.
    Shared,
    /// A new session for the container.
    Own,
}

/// What happens to the program when its parent ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnParentDeath {
    /// The kernel kills it; PR_SET_PDEATHSIG in prctl(2).
    Kill,
    /// The program continues.
    Continue,
}

/// The values of the sealing steps. The default changes only the supplementary
/// groups, which are dropped, because the caller's groups grant rights on the host.
#[derive(Clone, Debug, Default)]
pub struct Seal {
    /// The capabilities that the program can ever have; `None` keeps the bounding
    /// set.
    ///
    /// # Source
    /// capabilities(7), "Capability bounding set"
    pub bounding: Option<CapabilitySet>,
    /// The user and the groups; `None` keeps the user and drops the groups.
    pub credentials: Option<Credentials>,
    /// The permitted, effective and inheritable capabilities; `None` keeps them.
    pub capabilities: Option<CapabilitySet>,
    /// Whether execve(2) of a setuid program grants no privileges; no_new_privs in
    /// prctl(2).
    pub no_new_privs: bool,
    /// The origins of standard input, output and error. A part that replaces a
    /// stream changes its origin here.
    pub streams: [StreamSource; 3],
}

/// The origin of a standard stream of the program. It decides how a user other than
/// root gets the right to open the stream again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StreamSource {
    /// The caller opened it: owner and mode stay unchanged.
    #[default]
    Caller,
    /// A pipe or a terminal that this program created: its owner may be changed.
    Made,
    /// A file of the container.
    Container,
}

/// The user and the groups of a process.
///
/// # Source
/// credentials(7)
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credentials {
    /// The user ID.
    pub user: u32,
    /// The group ID.
    pub group: u32,
    /// The supplementary group IDs.
    pub groups: Vec<u32>,
}

impl Plan {
    /// A container without parts that runs this command. An empty command means
    /// `sh`.
    ///
    /// # Errors
    /// The path of the state directory, a random number or the working directory
    /// cannot be determined.
    pub fn new(mut command: Vec<OsString>) -> Result<Plan> {
        if command.is_empty() {
            command.push("sh".into());
        }
        Ok(Plan {
            home: Home { id: Id::new()?, name: None, state: State::locate()? },
            command,
            environment: environment::clean(),
            home_is_set: false,
            directory: working_directory()?,
            root: Root::Host,
            users: if rights::in_initial_user_namespace()? {
                Users::Initial
            } else {
                Users::Nested
            },
            lifetime: Lifetime::NoFiles,
            session: Session::Shared,
            detached: false,
            on_parent_death: OnParentDeath::Kill,
            files: Vec::new(),
            user: None,
            image_user: None,
            seal: Seal::default(),
        })
    }
}

impl Plan {
    /// Set environment variables that the caller or the image specifies. `set` gets
    /// the environment without HOME; if `set` does not set HOME, the old value is
    /// restored.
    ///
    /// # Errors
    /// `set` fails; its error is returned unchanged.
    pub fn set_variables(
        &mut self,
        set: impl FnOnce(&mut BTreeMap<OsString, OsString>) -> Result<()>,
    ) -> Result<()> {
        let home = OsStr::new("HOME");
        let before = self.environment.remove(home);
        set(&mut self.environment)?;
        match (self.environment.contains_key(home), before) {
            (true, _) => self.home_is_set = true,
            (false, Some(before)) => {
                self.environment.insert(home.to_owned(), before);
            }
            (false, None) => {}
        }
        Ok(())
    }
}

/// The caller's working directory. A removed directory has no path, but the program
/// can stay in it; the result is then ".".
fn working_directory() -> Result<PathBuf> {
    match env::current_dir() {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(".".into()),
        directory => directory.untraced(|| "getcwd(3)"),
    }
}
