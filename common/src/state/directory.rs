//! The state directory: where images, layers and containers lie on the host.

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

/// The state directory.
///
/// `$MYDOCKER_ROOT`; else `/var/lib/mydocker` for the host's root; else
/// `$XDG_DATA_HOME/mydocker`; else `~/.local/share/mydocker`. Root of another user
/// namespace is an ordinary user of the host.
///
/// ```text
/// images/               blobs, records and names of images: an OCI image layout
/// layers/CHAIN-ID/      one layer, unpacked: a directory tree
/// running/ID            a container's lock, and what there is to undo at its end
/// containers/ID/        what it keeps: the write layer
/// names/NAME            a symlink to an id
/// networks/NAME/        a network: its record, and the addresses in use
/// ```
#[derive(Clone, Debug)]
pub struct State {
    root: PathBuf,
    /// `containers` and `running`, for a program that reads many files below them.
    opened: Option<Arc<Opened>>,
}

impl State {
    /// Find out where the state directory is. Nothing is made yet.
    ///
    /// # Errors
    /// A relative `$MYDOCKER_ROOT`, or an ordinary user without `$HOME`.
    pub fn locate() -> Result<State> {
        if let Some(root) = set("MYDOCKER_ROOT") {
            if !root.is_absolute() {
                bail!("MYDOCKER_ROOT is {root:?}: give an absolute path");
            }
            return Ok(State::at(root));
        }
        if rights::is_host_root()? {
            let root = PathBuf::from("/var/lib/mydocker");
            return Ok(State::at(root));
        }
        // The XDG base directory specification: a relative path is to be ignored.
        let data = set("XDG_DATA_HOME").filter(|path| path.is_absolute());
        match data.or_else(|| set("HOME").map(|home| home.join(".local/share"))) {
            Some(data) => Ok(State::at(data.join("mydocker"))),
            None => bail!(
                "no place for images and layers: set MYDOCKER_ROOT, XDG_DATA_HOME or HOME"
            ),
        }
    }

    /// The state directory at this path.
    #[must_use]
    pub fn at(root: impl Into<PathBuf>) -> State {
        State { root: root.into(), opened: None }
    }

    /// The directory itself.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Images.
    #[must_use]
    pub fn images(&self) -> PathBuf {
        self.root.join("images")
    }

    /// Layers, one directory each.
    #[must_use]
    pub fn layers(&self) -> PathBuf {
        self.root.join("layers")
    }

    /// One directory per container.
    #[must_use]
    pub fn containers(&self) -> PathBuf {
        self.root.join("containers")
    }

    /// One lock file per container whose host side lives, or has died untidily.
    #[must_use]
    pub fn running(&self) -> PathBuf {
        self.root.join("running")
    }

    /// Names of containers: symlinks to their IDs.
    #[must_use]
    pub fn names(&self) -> PathBuf {
        self.root.join("names")
    }

    /// One directory per network.
    #[must_use]
    pub fn networks(&self) -> PathBuf {
        self.root.join("networks")
    }

    /// The same state directory, for reading the files of many containers: two of its
    /// directories are open, and the kernel looks up short paths from there. Where they
    /// cannot be opened, each file is opened by its whole path.
    #[must_use]
    pub fn opened(&self) -> State {
        let opened =
            Opened::new(self.containers(), self.running()).ok().map(Arc::new);
        State { opened, ..self.clone() }
    }

    /// Open a file in a container's directory, for reading.
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

    /// Open a container's lock file, for reading.
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

    /// Make one of the directories above, parents included, and give it back.
    ///
    /// # Errors
    /// Those of mkdir(2), with what to do about the usual ones.
    pub fn make(&self, directory: PathBuf) -> Result<PathBuf> {
        match fs::create_dir_all(&directory) {
            // What is there was looked at, and that look went wrong: another tells.
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
                fs::read_dir(&directory)
                    .look(|| format!("readdir(3) {}", directory.display()))
                    .hint(hints::state)?;
            }
            made => made
                .look(|| format!("mkdir(2) {}", directory.display()))
                .hint(hints::state)?,
        }
        Ok(directory)
    }
}

fn set(variable: &str) -> Option<PathBuf> {
    env::var_os(variable).filter(|value| !value.is_empty()).map(PathBuf::from)
}
