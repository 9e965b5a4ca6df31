//! The lock on the directory of all networks.

use std::fs::File;
use std::io;

use anyhow::Result;
use common::state::State;
use common::step::Step;

/// The lock on all networks. As long as it is held, no other process creates or removes
/// a network, or gives an address.
///
/// It is flock(2) on the directory `networks`: the kernel releases it when the holder
/// dies, and there is no file to be left over.
#[derive(Debug)]
pub struct Networks<'a> {
    pub(crate) state: &'a State,
    directory: File,
}

impl Drop for Networks<'_> {
    fn drop(&mut self) {
        // A child that was cloned meanwhile has the same lock: it is released for both.
        let _ = self.directory.unlock();
    }
}

impl<'a> Networks<'a> {
    /// Wait for the lock, and take it. The directory is made if it does not exist.
    ///
    /// # Errors
    /// Those of mkdir(2), open(2) and flock(2).
    pub fn lock(state: &'a State) -> Result<Networks<'a>> {
        let path = state.make(state.networks())?;
        let directory =
            File::open(&path).look(|| format!("open(2) {}", path.display()))?;
        let networks = Networks { state, directory };
        networks.wait()?;
        Ok(networks)
    }

    fn wait(&self) -> Result<()> {
        loop {
            match self.directory.lock() {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                locked => return locked.look(|| "flock(2) the networks directory"),
            }
        }
    }

    /// Do something without the lock, and take it again. Containers are swept this way:
    /// the functions of the table may take long, and may need the lock themselves.
    pub(crate) fn unlocked(&self, act: impl FnOnce()) -> Result<()> {
        self.directory.unlock().look(|| "flock(2) the networks directory")?;
        act();
        self.wait()
    }
}
