//! A container's home: its id and the directory that is its own.

use std::fs::{self, File, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use nix::errno::Errno;

use crate::hints;
use crate::id::{Id, Name};
use crate::state::State;
use crate::step::{Hint, Step};

/// Who a container is, and where its own things lie.
///
/// A value only: most containers of chapter 2 and 3 keep nothing and make no
/// directory.
#[derive(Clone, Debug)]
pub struct Home {
    /// The id.
    pub id: Id,
    /// The name that the user gave.
    pub name: Option<Name>,
    /// The state directory.
    pub state: State,
}

/// Says that a container's host side is alive: a lock on `containers/ID/lock`,
/// let go by the kernel when its holder dies, however it dies.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

impl Home {
    /// The container's own directory.
    #[must_use]
    pub fn dir(&self) -> PathBuf {
        self.state.containers().join(self.id.as_str())
    }

    /// Make the directory and take its lock. `parts` is written into the lock
    /// file, so that a later sweep knows what there may be to undo.
    ///
    /// # Errors
    /// A name that is taken, and those of mkdir(2), open(2) and flock(2).
    pub fn make(&self, parts: &[&str]) -> Result<Lock> {
        self.state.make(self.state.containers())?;
        let dir = self.dir();
        let path = dir.join("lock");
        let mut file = loop {
            // Only the owner looks in: setuid programs in a write layer are not for
            // other users of the host.
            fs::DirBuilder::new()
                .mode(0o700)
                .create(&dir)
                .step(|| format!("mkdir(2) {}", dir.display()))
                .hint(hints::state)?;
            let options = File::options().create(true).append(true).clone();
            let file = match options.open(&path) {
                // A sweep took the empty directory for one that is being removed.
                Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
                file => file
                    .look(|| format!("open(2) {}", path.display()))
                    .hint(hints::state)?,
            };
            // A sweep that had the file first has removed it with the directory.
            file.lock().look(|| format!("flock(2) {}", path.display()))?;
            if nlink(&file)? > 0 {
                break file;
            }
        };
        writeln!(file, "{}", parts.join(" "))
            .look(|| format!("write(2) {}", path.display()))
            .hint(hints::state)?;
        if let Some(name) = &self.name {
            self.take(name)?;
        }
        Ok(Lock { _file: file })
    }

    /// Remove the directory and give the name back. Nothing there is fine.
    ///
    /// # Errors
    /// Those of unlink(2) and rmdir(2).
    pub fn remove(&self) -> Result<()> {
        let dir = self.dir();
        if let Some(name) = &self.name {
            let link = self.state.names().join(name.as_str());
            let owner = match fs::read_link(&link) {
                Err(e) if no_link(&e) => None,
                owner => {
                    Some(owner.look(|| format!("readlink(2) {}", link.display()))?)
                }
            };
            if owner.is_some_and(|id| id == Path::new(self.id.as_str())) {
                gone(fs::remove_file(&link))
                    .step(|| format!("unlink(2) {}", link.display()))?;
            }
        }
        // The lock file goes last: a directory without one is empty, and anybody may
        // remove that.
        let entries = match fs::read_dir(&dir) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
            entries => entries.look(|| format!("readdir(3) {}", dir.display()))?,
        };
        for entry in entries {
            let path =
                entry.look(|| format!("readdir(3) {}", dir.display()))?.path();
            if !path.ends_with("lock") {
                remove_tree(&path)?;
            }
        }
        gone(fs::remove_file(dir.join("lock")))
            .and_then(|()| gone(fs::remove_dir(&dir)))
            .step(|| format!("rmdir(2) {}", dir.display()))
    }

    /// A name is a symlink to an id: symlink(2) lets exactly one of many win.
    fn take(&self, name: &Name) -> Result<()> {
        let names = self.state.make(self.state.names())?;
        let link = names.join(name.as_str());
        match std::os::unix::fs::symlink(self.id.as_str(), &link) {
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => bail!(
                "the name {name} is taken by container {}: choose another --name",
                fs::read_link(&link).unwrap_or_default().display()
            ),
            made => made.step(|| format!("symlink(2) {}", link.display())),
        }
    }
}

impl State {
    /// Names of containers: symlinks to their ids.
    #[must_use]
    pub fn names(&self) -> PathBuf {
        self.root().join("names")
    }

    /// The containers whose host side is dead, each with the lock that now keeps
    /// others from sweeping it too, and the names of its parts.
    ///
    /// # Errors
    /// Those of readdir(3).
    pub fn dead(&self) -> Result<Vec<(Home, Vec<String>, Lock)>> {
        let mut dead = Vec::new();
        let entries = match fs::read_dir(self.containers()) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(dead),
            entries => entries
                .look(|| format!("readdir(3) {}", self.containers().display()))?,
        };
        for entry in entries {
            let entry = entry
                .look(|| format!("readdir(3) {}", self.containers().display()))?;
            let Some(id) = entry.file_name().to_str().and_then(|n| n.parse().ok())
            else {
                continue;
            };
            // Who holds the lock of a file that is still linked owns the directory.
            let path = entry.path().join("lock");
            let mut file = match File::open(&path) {
                Ok(file) => file,
                Err(e) if e.kind() == io::ErrorKind::NotFound => {
                    // Empty: on its way in or out, or its owner died there. One on
                    // its way in is made again.
                    let _ = fs::remove_dir(entry.path());
                    continue;
                }
                // Somebody else's.
                Err(e) if e.kind() == io::ErrorKind::PermissionDenied => continue,
                file => file.look(|| format!("open(2) {}", path.display()))?,
            };
            match file.try_lock() {
                Err(TryLockError::WouldBlock) => continue,
                Err(TryLockError::Error(e)) => {
                    return Err(e).look(|| format!("flock(2) {}", path.display()));
                }
                Ok(()) => {}
            }
            if nlink(&file)? == 0 {
                continue;
            }
            let mut parts = String::new();
            file.read_to_string(&mut parts)
                .look(|| format!("read(2) {}", path.display()))?;
            let parts = parts.split_whitespace().map(str::to_owned).collect();
            let name = self.name_of(&id)?;
            let home = Home { id, name, state: self.clone() };
            dead.push((home, parts, Lock { _file: file }));
        }
        Ok(dead)
    }

    /// A name that is not found would be taken for ever.
    fn name_of(&self, id: &Id) -> Result<Option<Name>> {
        let names = self.names();
        let entries = match fs::read_dir(&names) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            entries => entries.look(|| format!("readdir(3) {}", names.display()))?,
        };
        for entry in entries {
            let link = entry.look(|| format!("readdir(3) {}", names.display()))?;
            let target = match fs::read_link(link.path()) {
                // Given back meanwhile, or somebody else's.
                Err(e) if no_link(&e) => continue,
                to => {
                    to.look(|| format!("readlink(2) {}", link.path().display()))?
                }
            };
            if target == Path::new(id.as_str()) {
                return Ok(link.file_name().to_str().and_then(|n| n.parse().ok()));
            }
        }
        Ok(None)
    }
}

/// Whether there is no symlink that could be read.
fn no_link(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::InvalidInput)
}

fn nlink(file: &File) -> Result<u64> {
    Ok(file.metadata().look(|| "fstat(2) of a container's lock")?.nlink())
}

/// How long a container whose host side was killed may take to die.
const DYING: Duration = Duration::from_secs(2);

/// Remove a directory and all below it; nothing there is fine.
///
/// # Errors
/// Those of unlink(2) and rmdir(2).
pub fn remove_tree(dir: &Path) -> Result<()> {
    let deadline = Instant::now() + DYING;
    loop {
        match remove_once(dir) {
            // The kernel frees the lock of a killed host side before it ends the
            // container, which may write until then.
            Err(e)
                if e.kind() == io::ErrorKind::DirectoryNotEmpty
                    && Instant::now() < deadline =>
            {
                sleep(Duration::from_millis(5));
            }
            removed => return removed.step(|| format!("rm -r {}", dir.display())),
        }
    }
}

fn remove_once(dir: &Path) -> io::Result<()> {
    let removed = match fs::remove_dir_all(dir) {
        Err(e) if e.kind() == io::ErrorKind::NotADirectory => fs::remove_file(dir),
        // overlay leaves its `work/work` with mode 000, which only root looks into;
        // a container's own directories may be as closed.
        Err(e) if e.kind() == io::ErrorKind::PermissionDenied => {
            open_up(dir);
            fs::remove_dir_all(dir)
        }
        removed => removed,
    };
    gone(removed)
}

fn open_up(dir: &Path) {
    // What can't be opened is named by the removal that follows.
    let _ = fs::set_permissions(dir, fs::Permissions::from_mode(0o700));
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            open_up(&entry.path());
        }
    }
}

fn gone(removed: io::Result<()>) -> io::Result<()> {
    removed.or_else(|e| match e.raw_os_error().map(Errno::from_raw) {
        Some(Errno::ENOENT) => Ok(()),
        _ => Err(e),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn home(state: &State, name: Option<&str>) -> Home {
        let name = name.map(|name| name.parse().unwrap());
        Home { id: Id::new().unwrap(), name, state: state.clone() }
    }

    #[test]
    fn a_living_home_is_not_swept_and_a_dead_one_is() {
        let dir = tempfile::tempdir().unwrap();
        let state = State::at(dir.path());
        assert!(state.dead().unwrap().is_empty());
        let home = home(&state, Some("web"));
        let lock = home.make(&["overlay", "volume"]).unwrap();
        assert!(state.dead().unwrap().is_empty());
        drop(lock);
        let dead = state.dead().unwrap();
        let [(found, parts, _lock)] = &dead[..] else { panic!("{dead:?}") };
        assert_eq!(found.id, home.id);
        assert_eq!(found.name, home.name);
        assert_eq!(parts, &["overlay", "volume"]);
        found.remove().unwrap();
        found.remove().unwrap();
        assert!(state.dead().unwrap().is_empty());
        assert_eq!(fs::read_dir(state.names()).unwrap().count(), 0);
    }

    #[test]
    fn a_name_has_one_owner() {
        let dir = tempfile::tempdir().unwrap();
        let state = State::at(dir.path());
        let first = home(&state, Some("web"));
        let _lock = first.make(&[]).unwrap();
        let second = home(&state, Some("web"));
        let error = second.make(&[]).unwrap_err();
        assert_eq!(
            format!("{error}"),
            format!(
                "the name web is taken by container {}: choose another --name",
                first.id
            )
        );
        second.remove().unwrap();
        assert!(state.names().join("web").symlink_metadata().is_ok());
    }

    #[test]
    fn a_home_that_died_before_its_lock_is_swept() {
        let dir = tempfile::tempdir().unwrap();
        let state = State::at(dir.path());
        fs::create_dir_all(state.containers().join("0123456789ab")).unwrap();
        assert!(state.dead().unwrap().is_empty());
        assert_eq!(fs::read_dir(state.containers()).unwrap().count(), 0);
    }
}
