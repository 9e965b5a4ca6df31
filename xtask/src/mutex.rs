//! A mutex that stays usable after a panic: the values in it are always consistent.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Lock the mutex.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
