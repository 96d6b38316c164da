//! Locking a mutex after another holder may have panicked.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// A poisoned lock is taken all the same: what the locks of the store guard is whole between any two
/// statements, and in a release build a panic ends the process anyway.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
