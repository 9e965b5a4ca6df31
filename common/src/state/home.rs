//! A container's identity, and the directory of its own.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use anyhow::Result;
use rustix::fs::{IFlags, ioctl_getflags, ioctl_setflags};

use crate::cli::hints;
use crate::cli::step::{Hint, Step};
use crate::state::directory::State;
use crate::state::id::Id;
use crate::state::name::Name;
use crate::state::tree::remove_tree;

/// Who a container is, and where its files are.
///
/// A value only: most containers of chapters 2 and 3 have no files.
#[derive(Clone, Debug)]
pub struct Home {
    /// The ID.
    pub id: Id,
    /// The name that the user gave.
    pub name: Option<Name>,
    /// The state directory.
    pub state: State,
}

impl Home {
    /// The container's own directory.
    #[must_use]
    pub fn dir(&self) -> PathBuf {
        self.state.containers().join(self.id.as_str())
    }

    /// Make the directory. The caller holds the lock.
    ///
    /// # Errors
    /// Those of mkdir(2).
    pub(crate) fn make_dir(&self) -> Result<()> {
        let dir = self.dir();
        // Only the owner looks in: setuid programs in a write layer are not for other
        // users of the host.
        let make = || fs::DirBuilder::new().mode(0o700).create(&dir);
        let made = match make() {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                spread(&self.state.make(self.state.containers())?);
                make()
            }
            made => made,
        };
        made.step(|| format!("mkdir(2) {}", dir.display())).hint(hints::state)
    }

    /// Remove the directory.
    ///
    /// # Errors
    /// Those of unlink(2) and rmdir(2).
    pub(crate) fn remove_dir(&self) -> Result<()> {
        remove_tree(&self.dir())
    }
}

/// Tell the file system that the entries of this directory are unrelated. ext4 then
/// looks for inodes in many places. Otherwise it takes them near the directory, and
/// without a journal a new one passes over all that were freed there in the last minute:
/// with three hundred containers a second, thousands.
///
/// # Source
/// chattr(1), "T"; fs/ext4/ialloc.c, "`recently_deleted`"
pub(crate) fn spread(directory: &Path) {
    let mark = |file: File| {
        let flags = ioctl_getflags(&file)?;
        ioctl_setflags(&file, flags | IFlags::TOPDIR)
    };
    // Other file systems know no such hint, and need none.
    let _ = File::open(directory).map(mark);
}
