//! A container that stands still while its files are copied.

use anyhow::Result;
use ch02_cgroups::{Group, freeze};
use common::Guard;

// ANCHOR: frozen
/// A group that is frozen as long as this lives, and not longer than this process.
pub struct Frozen {
    group: Group,
    _guard: Guard,
}

impl Frozen {
    /// Freeze it. SIGINT and SIGTERM end this process while it waits for that, and the
    /// guard thaws the group.
    ///
    /// # Errors
    /// As [`freeze`]; those of clone(2).
    pub(crate) fn new(group: Group) -> Result<Frozen> {
        // Before it is frozen: who is killed in between leaves it as it was.
        let thawed = group.clone();
        let guard = Guard::after_death(move || {
            let _ = freeze(&thawed, false);
        })?;
        let frozen = Frozen { group, _guard: guard };
        freeze(&frozen.group, true)?;
        Ok(frozen)
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        // A container that has ended meanwhile has no group.
        let _ = freeze(&self.group, false);
    }
}
// ANCHOR_END: frozen
