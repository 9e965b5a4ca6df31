//! Two directories of a state directory, kept open to read hundreds of files in
//! them.
//!
//! The kernel looks up each component of a path. A path relative to an open
//! directory has one or two components; an absolute path has six or more.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use rustix::fs::{Mode, OFlags, open, openat, readlinkat};

use crate::state::id::Id;

/// The open directories `containers` and `running`.
#[derive(Debug)]
pub(crate) struct Opened {
    containers: OwnedFd,
    running: OwnedFd,
}

impl Opened {
    /// # Errors
    /// open(2) fails: a directory may not exist yet.
    pub(crate) fn new(containers: PathBuf, running: PathBuf) -> io::Result<Opened> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = |path: PathBuf| open(path, flags, Mode::empty());
        Ok(Opened {
            containers: directory(containers)?,
            running: directory(running)?,
        })
    }

    /// Open a file in a container's directory.
    pub(crate) fn file(&self, id: &Id, name: &str) -> io::Result<File> {
        read_only(&self.containers, &path(id, name))
    }

    /// The target of a symlink in a container's directory.
    pub(crate) fn link(&self, id: &Id, name: &str) -> io::Result<OsString> {
        let target = readlinkat(&self.containers, path(id, name), Vec::new())?;
        Ok(OsString::from_vec(target.into_bytes()))
    }

    /// Open a container's lock file.
    pub(crate) fn lock_file(&self, id: &Id) -> io::Result<File> {
        read_only(&self.running, id.as_str())
    }
}

fn path(id: &Id, name: &str) -> String {
    let mut path = String::with_capacity(32);
    path.extend([id.as_str(), "/", name]);
    path
}

fn read_only(directory: &OwnedFd, path: &str) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    Ok(openat(directory, path, flags, Mode::empty())?.into())
}
