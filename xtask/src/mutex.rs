//! A mutex that stays usable after a thread's panic: the values in ours are always whole.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Lock it.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
