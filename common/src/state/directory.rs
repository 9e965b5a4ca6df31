//! The state directory: where images, layers and containers lie on the host.

use std::env;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

use crate::cli::hints;
use crate::cli::step::{Hint, Step};
use crate::process::rights;

/// The state directory.
///
/// `$MYDOCKER_ROOT`; else `/var/lib/mydocker` for the host's root; else
/// `$XDG_DATA_HOME/mydocker`; else `~/.local/share/mydocker`. Root of another user
/// namespace is an ordinary user of the host.
///
/// ```text
/// images/NAME           a record: the image's layers, lowest last
/// layers/NAME/          one layer: a directory tree
/// running/ID            a container's lock, and what there is to undo at its end
/// containers/ID/        what it keeps: the write layer
/// names/NAME            a symlink to an id
/// networks/NAME/        a network: its record, and the addresses in use
/// ```
#[derive(Clone, Debug)]
pub struct State {
    root: PathBuf,
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
            return Ok(State { root });
        }
        if rights::is_host_root()? {
            let root = PathBuf::from("/var/lib/mydocker");
            return Ok(State { root });
        }
        // The XDG base directory specification: a relative path is to be ignored.
        let data = set("XDG_DATA_HOME").filter(|path| path.is_absolute());
        match data.or_else(|| set("HOME").map(|home| home.join(".local/share"))) {
            Some(data) => Ok(State { root: data.join("mydocker") }),
            None => bail!(
                "no place for images and layers: set MYDOCKER_ROOT, XDG_DATA_HOME or HOME"
            ),
        }
    }

    /// The state directory at this path.
    #[must_use]
    pub fn at(root: impl Into<PathBuf>) -> State {
        State { root: root.into() }
    }

    /// The directory itself.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Image records.
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
