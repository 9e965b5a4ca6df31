//! The directory `images`: an OCI image layout, and records that a start can read.
//!
//! ```text
//! oci-layout, index.json     the OCI image layout; other programs can read it
//! blobs/sha256/HEX           configurations, manifests and layers
//! records/HEX                an image as `run` needs it; HEX is the image's ID
//! names/REFERENCE            a symlink to a record
//! downloads/HEX              layers that a pull has downloaded and no image uses yet
//! lease                      locked while there are files that no name leads to yet
//! ```
//!
//! This program reads only the names and the records. It writes `index.json` from
//! them after each change. If it read `index.json`, one damaged file would hide all
//! images.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, File, Permissions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

use super::digest::Digest;
use super::durable::{remove_if_there, sync, write_durably};
use super::reference::Reference;
use crate::cli::hints;
use crate::cli::step::{Hint, Step};
use crate::state::State;

/// The directory `images` of a state directory.
#[derive(Clone, Debug)]
pub struct Layout {
    root: PathBuf,
    state: State,
}

/// A lock on the images, shared or exclusive. It is released when this value is
/// dropped.
#[derive(Debug)]
pub struct LockGuard(File);

impl Drop for LockGuard {
    fn drop(&mut self) {
        // A child that was cloned in the meantime has the same lock. This call
        // releases it for both processes.
        let _ = self.0.unlock();
    }
}

/// The names of images, and the IDs to which they lead.
pub type Names = BTreeMap<Reference, Digest>;

/// The text of the file that marks an OCI image layout.
///
/// # Source
/// OCI image specification, image-layout.md
const OCI_LAYOUT: &str = r#"{"imageLayoutVersion":"1.0.0"}"#;

impl Layout {
    /// The images of this state directory.
    #[must_use]
    pub fn of(state: &State) -> Layout {
        Layout { root: state.images(), state: state.clone() }
    }

    /// Create the layout, if it is missing.
    ///
    /// # Errors
    /// The state directory has images of an older version; mkdir(2) or write(2) fails.
    pub fn make(&self) -> Result<()> {
        let mark = self.root.join("oci-layout");
        if mark.exists() {
            return Ok(());
        }
        self.state.make(self.root.clone())?;
        // If several first runs start at the same time, only one of them creates the
        // layout.
        let _lock = self.lock_exclusive()?;
        if mark.exists() {
            return Ok(());
        }
        self.refuse_older()?;
        for name in ["blobs/sha256", "records", "names", "downloads"] {
            self.state.make(self.root.join(name))?;
        }
        // A layer's tar may contain files that other users of the host must not
        // read.
        for name in ["blobs", "downloads"] {
            let path = self.root.join(name);
            fs::set_permissions(&path, Permissions::from_mode(0o700))
                .step(|| at("chmod(2)", &path))?;
        }
        let lease = self.root.join("lease");
        File::create(&lease).step(|| at("open(2)", &lease)).hint(hints::state)?;
        self.write_mark()
    }

    /// Write the file that marks the layout, unless it is complete.
    pub(super) fn write_mark(&self) -> Result<()> {
        let mark = self.root.join("oci-layout");
        match fs::read(&mark) {
            Ok(text) if text == OCI_LAYOUT.as_bytes() => return Ok(()),
            // A file that cannot be read may be complete.
            Err(error) if error.kind() != ErrorKind::NotFound => {
                return Err(error)
                    .untraced(|| at("read(2)", &mark))
                    .hint(hints::state);
            }
            _ => {}
        }
        write_durably(&mark, OCI_LAYOUT.as_bytes())
    }

    /// Refuse the images of an older version. These versions kept one record per
    /// name here, and layers without digests.
    fn refuse_older(&self) -> Result<()> {
        let entries = fs::read_dir(&self.root).into_iter().flatten().flatten();
        for entry in entries {
            let name = entry.file_name();
            let own = name.to_string_lossy().starts_with('.') || name == "lease";
            if !own && entry.file_type().is_ok_and(|kind| kind.is_file()) {
                let root = self.state.root().display();
                bail!(
                    "an older version of this program made the images in {root}, \
                     and their layers have no digests: use that version to `export` \
                     the containers that you want to keep, end all containers, and \
                     remove the directory: rm -r {root}"
                );
            }
        }
        Ok(())
    }

    /// The state directory.
    pub(super) fn state(&self) -> &State {
        &self.state
    }

    /// The path of a blob.
    #[must_use]
    pub fn blob(&self, digest: &Digest) -> PathBuf {
        self.blobs().join(digest.hex())
    }

    /// The directory of the blobs.
    #[must_use]
    pub fn blobs(&self) -> PathBuf {
        self.root.join("blobs/sha256")
    }

    /// The directory of the records.
    #[must_use]
    pub fn records(&self) -> PathBuf {
        self.root.join("records")
    }

    /// The path of the record of an image.
    #[must_use]
    pub fn record(&self, id: &Digest) -> PathBuf {
        self.records().join(id.hex())
    }

    /// The directory of the names.
    #[must_use]
    pub fn names(&self) -> PathBuf {
        self.root.join("names")
    }

    /// The path of a name.
    #[must_use]
    pub fn name(&self, reference: &Reference) -> PathBuf {
        self.names().join(reference.file_name())
    }

    /// The directory of downloads.
    #[must_use]
    pub fn downloads(&self) -> PathBuf {
        self.root.join("downloads")
    }

    /// The path of a file that is being written; a sweep removes it. `id` is unique.
    #[must_use]
    pub fn unfinished(&self, id: &str) -> PathBuf {
        self.root.join(format!(".{id}.new"))
    }

    /// Take the shared lock. While a process holds it, no image and no layer is
    /// removed. Many processes may hold it at the same time.
    ///
    /// # Errors
    /// open(2) or flock(2) fails.
    pub fn lock_shared(&self) -> Result<LockGuard> {
        lock(&self.root, File::lock_shared)
    }

    /// Take the exclusive lock, which a change requires.
    ///
    /// # Errors
    /// open(2) or flock(2) fails.
    pub fn lock_exclusive(&self) -> Result<LockGuard> {
        lock(&self.root, File::lock)
    }

    /// Take a shared lease. While a process holds it, no sweep removes a layer or a
    /// blob, even if no name leads to it yet. Many processes may hold it at the same
    /// time.
    ///
    /// # Errors
    /// open(2) or flock(2) fails.
    pub fn lease(&self) -> Result<LockGuard> {
        lock(&self.root.join("lease"), File::lock_shared)
    }

    /// Take the exclusive lease; `None` if another process holds a lease.
    ///
    /// # Errors
    /// open(2) fails.
    pub fn try_exclusive_lease(&self) -> Result<Option<LockGuard>> {
        let path = self.root.join("lease");
        let file = File::open(&path).untraced(|| at("open(2)", &path))?;
        Ok(file.try_lock().is_ok().then_some(LockGuard(file)))
    }

    /// All names, and the images to which they lead.
    ///
    /// # Errors
    /// readdir(3) fails.
    pub fn all_names(&self) -> Result<Names> {
        let directory = self.names();
        let step = || at("readdir(3)", &directory);
        let mut names = Names::new();
        for entry in fs::read_dir(&directory).untraced(step)? {
            // `strays` in damaged.rs finds the other entries.
            names.extend(name_at(&entry.untraced(step)?.path())?);
        }
        Ok(names)
    }

    /// The ID to which a name leads, even if the record of the image is damaged.
    #[must_use]
    pub fn id_of(&self, reference: &Reference) -> Option<Digest> {
        let name = name_at(&self.name(reference)).ok().flatten();
        name.map(|(_, id)| id)
    }

    /// Let this name lead to this image, whose record is on the disk. The caller holds
    /// the exclusive lock.
    ///
    /// # Errors
    /// symlink(2), rename(2) or fsync(2) fails.
    pub fn set_name(&self, reference: &Reference, id: &Digest) -> Result<()> {
        let path = self.name(reference);
        let new = self.names().join(".new");
        remove_if_there(&new)?;
        symlink(format!("../records/{}", id.hex()), &new)
            .step(|| at("symlink(2)", &new))
            .hint(hints::state)?;
        // symlink(2) cannot replace an existing name. rename(2) does this in one
        // step.
        fs::rename(&new, &path).step(|| at("rename(2)", &path))?;
        sync(&self.names())
    }

    /// Remove a name. It is no error if it is missing.
    ///
    /// # Errors
    /// unlink(2) or fsync(2) fails.
    pub fn remove_name(&self, reference: &Reference) -> Result<()> {
        remove_if_there(&self.name(reference))?;
        sync(&self.names())
    }
}

/// The name at this path, and the ID to which it leads; `None` if it is damaged.
///
/// # Errors
/// readlink(2) fails, except with EINVAL (not a symlink) or ENOENT. If a name were
/// left out after any other error, a sweep would remove its image.
pub(super) fn name_at(path: &Path) -> Result<Option<(Reference, Digest)>> {
    let target = match fs::read_link(path) {
        Err(e)
            if [ErrorKind::InvalidInput, ErrorKind::NotFound]
                .contains(&e.kind()) =>
        {
            return Ok(None);
        }
        target => target.untraced(|| at("readlink(2)", path))?,
    };
    let name = path.file_name().and_then(OsStr::to_str).unwrap_or_default();
    let id = target.file_name().and_then(OsStr::to_str).unwrap_or_default();
    let (name, id) = (Reference::from_file_name(name), Digest::from_hex(id));
    Ok(name.ok().zip(id.ok()))
}

fn lock(path: &Path, how: impl Fn(&File) -> io::Result<()>) -> Result<LockGuard> {
    let file = File::open(path).untraced(|| at("open(2)", path))?;
    loop {
        match how(&file) {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            locked => {
                locked.untraced(|| at("flock(2)", path))?;
                return Ok(LockGuard(file));
            }
        }
    }
}

fn at(call: &str, path: &Path) -> String {
    format!("{call} {}", path.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_reading_a_name_is_reported() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let id = "1".repeat(64);
        symlink(format!("../records/{id}"), at("a:latest")).unwrap();
        let (name, found) = name_at(&at("a:latest")).unwrap().unwrap();
        assert_eq!((name.to_string().as_str(), found.hex()), ("a:latest", &id[..]));
        fs::write(at("b:latest"), "").unwrap();
        for damaged in ["b:latest", "missing:latest"] {
            assert_eq!(name_at(&at(damaged)).unwrap(), None, "{damaged}");
        }
        // ENOTDIR stands for any other errno.
        assert!(name_at(&at("b:latest").join("c:latest")).is_err());
    }
}
