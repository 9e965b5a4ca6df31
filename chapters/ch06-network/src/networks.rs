//! The lock on the directory of all networks.

use std::fs::File;
use std::io;

use anyhow::Result;
use common::state::State;
use common::step::Step;

/// The lock on all networks. While a process holds it, no other process creates or
/// removes a network, or assigns an address.
///
/// It is a flock(2) on the directory `networks`: the kernel releases the lock when
/// its holder ends, and no lock file can remain.
#[derive(Debug)]
pub struct Networks<'a> {
    pub(crate) state: &'a State,
    directory: File,
}

impl Drop for Networks<'_> {
    fn drop(&mut self) {
        // A child that was created in the meantime shares the lock. It is released
        // for both processes.
        let _ = self.directory.unlock();
    }
}

impl<'a> Networks<'a> {
    /// Wait for the lock, and take it. The directory is created if it does not
    /// exist.
    ///
    /// # Errors
    /// An errno of mkdir(2), open(2) or flock(2).
    pub fn lock(state: &'a State) -> Result<Networks<'a>> {
        let path = state.make(state.networks())?;
        let directory =
            File::open(&path).untraced(|| format!("open(2) {}", path.display()))?;
        let networks = Networks { state, directory };
        networks.wait()?;
        Ok(networks)
    }

    fn wait(&self) -> Result<()> {
        loop {
            match self.directory.lock() {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                locked => {
                    return locked.untraced(|| "flock(2) the networks directory");
                }
            }
        }
    }

    /// Release the lock, call a function, and take the lock again. Used to sweep
    /// containers: the functions of the table may take long, and may need the lock
    /// themselves.
    pub(crate) fn unlocked(&self, action: impl FnOnce()) -> Result<()> {
        self.directory.unlock().untraced(|| "flock(2) the networks directory")?;
        action();
        self.wait()
    }
}
