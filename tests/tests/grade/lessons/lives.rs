//! The checks of the tasks of chapter 5: the life of a container.

use crate::Entry;

pub(super) const ALL: &[Entry] = &[];
