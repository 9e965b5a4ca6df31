//! The state directory, which contains images, layers and containers on the host.

use std::env;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Result, bail};

use crate::cli::hints;
use crate::cli::step::{Hint, Step};
use crate::process::rights;
use crate::state::id::Id;
use crate::state::opened::Opened;
use crate::state::spread::spread;

/// The state directory.
///
/// It is `$MYDOCKER_ROOT` if this is set, otherwise `/var/lib/mydocker` for the
/// host's root, otherwise `$XDG_DATA_HOME/mydocker`, otherwise
/// `~/.local/share/mydocker`. Root of another user namespace counts as an ordinary
/// user.
///
/// ```text
/// images/               blobs, records and names of images: an OCI image layout
/// layers/CHAIN-ID/      one layer, unpacked: a directory tree
/// running/ID            a container's lock file, with its notes
/// containers/ID/        a container's files: record, upper directory
/// names/NAME            a symlink to a container ID
/// networks/NAME/        a network: its record, and the addresses in use
/// ```
#[derive(Clone, Debug)]
pub struct State {
    root: PathBuf,
    /// The open directories `containers` and `running`, for a program that reads
    /// many files in them.
    opened: Option<Arc<Opened>>,
}

impl State {
    /// Determine the path of the state directory. Nothing is created yet.
    ///
    /// # Errors
    /// `$MYDOCKER_ROOT` is a relative path, or an ordinary user has no `$HOME`.
    pub fn locate() -> Result<State> {
        if let Some(root) = set("MYDOCKER_ROOT") {
            if !root.is_absolute() {
                bail!("MYDOCKER_ROOT must be an absolute path, not {root:?}");
            }
            return Ok(State::at(root));
        }
        if rights::is_host_root()? {
            let root = PathBuf::from("/var/lib/mydocker");
            return Ok(State::at(root));
        }
        // The XDG Base Directory Specification: relative paths must be ignored.
        let data = set("XDG_DATA_HOME").filter(|path| path.is_absolute());
        match data.or_else(|| set("HOME").map(|home| home.join(".local/share"))) {
            Some(data) => Ok(State::at(data.join("mydocker"))),
            None => {
                bail!("no state directory: set MYDOCKER_ROOT, XDG_DATA_HOME or HOME")
            }
        }
    }

    /// The state directory at this path.
    #[must_use]
    pub fn at(root: impl Into<PathBuf>) -> State {
        State { root: root.into(), opened: None }
    }

    /// The path of the state directory.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The directory of images.
    #[must_use]
    pub fn images(&self) -> PathBuf {
        self.root.join("images")
    }

    /// The directory of layers; each layer is a directory in it.
    #[must_use]
    pub fn layers(&self) -> PathBuf {
        self.root.join("layers")
    }

    /// The directory of containers; each container has a directory in it.
    #[must_use]
    pub fn containers(&self) -> PathBuf {
        self.root.join("containers")
    }

    /// The directory of lock files: one per container whose supervisor is alive, or
    /// was killed without clean-up.
    #[must_use]
    pub fn running(&self) -> PathBuf {
        self.root.join("running")
    }

    /// The directory of container names: symlinks to container IDs.
    #[must_use]
    pub fn names(&self) -> PathBuf {
        self.root.join("names")
    }

    /// The directory of networks; each network is a directory in it.
    #[must_use]
    pub fn networks(&self) -> PathBuf {
        self.root.join("networks")
    }

    /// The same state directory, for reading the files of many containers. Two of
    /// its directories are opened, so that the kernel looks up short relative paths.
    /// If they cannot be opened, each file is opened by its absolute path.
    #[must_use]
    pub fn opened(&self) -> State {
        let opened =
            Opened::new(self.containers(), self.running()).ok().map(Arc::new);
        State { opened, ..self.clone() }
    }

    /// Open a file in a container's directory for reading.
    pub(crate) fn open_file(&self, id: &Id, name: &str) -> io::Result<File> {
        match &self.opened {
            Some(opened) => opened.file(id, name),
            None => File::open(self.file_path(id, name)),
        }
    }

    /// The target of a symlink in a container's directory.
    pub(crate) fn read_link(&self, id: &Id, name: &str) -> io::Result<OsString> {
        match &self.opened {
            Some(opened) => opened.link(id, name),
            None => fs::read_link(self.file_path(id, name)).map(Into::into),
        }
    }

    /// Open a container's lock file for reading.
    pub(crate) fn open_lock_file(&self, id: &Id) -> io::Result<File> {
        match &self.opened {
            Some(opened) => opened.lock_file(id),
            None => File::open(self.running().join(id.as_str())),
        }
    }

    /// The path of a file in a container's directory.
    pub(crate) fn file_path(&self, id: &Id, name: &str) -> PathBuf {
        self.containers().join(id.as_str()).join(name)
    }

    /// Create one of the directories above, including its parents, and return it.
    ///
    /// # Errors
    /// mkdir(2) fails; the usual errors have a hint.
    pub fn make(&self, directory: PathBuf) -> Result<PathBuf> {
        match fs::create_dir_all(&directory) {
            // create_dir_all checked whether the directory exists, and that check
            // failed. readdir(3) gives the reason.
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
                fs::read_dir(&directory)
                    .untraced(|| format!("readdir(3) {}", directory.display()))
                    .hint(hints::state)?;
            }
            made => made
                .untraced(|| format!("mkdir(2) {}", directory.display()))
                .hint(hints::state)?,
        }
        Ok(directory)
    }

    /// Create the directory of the layers, if it is missing. ext4 then places
    /// each layer in a different area of the disk.
    ///
    /// # Errors
    /// mkdir(2) fails, for example with EACCES or ENOSPC.
    pub fn make_layers(&self) -> Result<PathBuf> {
        let layers = self.layers();
        if !layers.is_dir() {
            spread(&self.make(layers.clone())?);
        }
        Ok(layers)
    }
}

fn set(variable: &str) -> Option<PathBuf> {
    env::var_os(variable).filter(|value| !value.is_empty()).map(PathBuf::from)
}
