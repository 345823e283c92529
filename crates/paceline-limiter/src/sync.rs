//! The lock and the counted pointer of the shared forms, or loom's where it explores them.
//!
//! Invariant: a lock is not poisoned. The limiter panics nowhere by design; if it did, its counts
//! stay on the safe side.

#[cfg(loom)]
pub(crate) use explored::{Arc, Mutex, MutexGuard};
#[cfg(not(loom))]
pub(crate) use parking_lot::{Mutex, MutexGuard};
#[cfg(not(loom))]
pub(crate) use std::sync::Arc;

#[cfg(loom)]
mod explored {
    use std::sync::PoisonError;

    pub(crate) use loom::sync::{Arc, MutexGuard};

    /// loom's lock, without poisoning.
    pub(crate) struct Mutex<T>(loom::sync::Mutex<T>);

    impl<T> Mutex<T> {
        pub(crate) fn new(value: T) -> Self {
            Self(loom::sync::Mutex::new(value))
        }

        pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
            self.0.lock().unwrap_or_else(PoisonError::into_inner)
        }
    }
}
