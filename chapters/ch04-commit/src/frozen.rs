//! Freeze a container while its files are copied.

use anyhow::Result;
use ch02_cgroups::{Group, freeze};
use common::Guard;

// ANCHOR: frozen
/// A group that is frozen until this value is dropped or this process ends.
pub struct Frozen {
    group: Group,
    _guard: Guard,
}

impl Frozen {
    /// Freeze the group. If SIGINT or SIGTERM ends this process during the wait, the
    /// guard process thaws the group.
    ///
    /// # Errors
    /// The group cannot be frozen (see [`freeze`]); clone(2) of the guard fails.
    pub(crate) fn new(group: Group) -> Result<Frozen> {
        // Create the guard before the group is frozen, so that the group is thawed
        // even if this process is killed.
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
        // This fails if the container has ended in the meantime, since its group is
        // removed.
        let _ = freeze(&self.group, false);
    }
}
// ANCHOR_END: frozen
