//! The lock, the counted pointer and the sleep of the shared forms, or loom's where it explores them.
//!
//! Invariant: a lock is not poisoned. The limiter panics nowhere by design; if it did, its counts
//! stay on the safe side.

#[cfg(all(feature = "clock", loom))]
pub(crate) use explored::Sleeper;
#[cfg(loom)]
pub(crate) use explored::{Arc, Mutex, MutexGuard};
#[cfg(all(feature = "clock", not(loom)))]
pub(crate) use sleeping::Sleeper;
#[cfg(not(loom))]
pub(crate) use spinning::{Mutex, MutexGuard};
#[cfg(not(loom))]
pub(crate) use std::sync::Arc;

#[cfg(all(feature = "clock", not(loom)))]
mod sleeping {
    use std::thread::{self, Thread};
    use std::time::Duration;

    /// The thread that made it, where it sleeps. A wake-up that comes early ends the next sleep.
    pub(crate) struct Sleeper(Thread);

    impl Sleeper {
        pub(crate) fn new() -> Self {
            Self(thread::current())
        }

        /// Until it is woken or `wait` has passed; sometimes for no reason less.
        #[expect(clippy::disallowed_methods, reason = "the form that may block")]
        #[expect(clippy::unused_self, reason = "loom's has a state of its own")]
        pub(crate) fn sleep(&self, wait: Option<Duration>) {
            match wait {
                Some(wait) => thread::park_timeout(wait),
                None => thread::park(),
            }
        }

        pub(crate) fn wake(&self) {
            self.0.unpark();
        }
    }
}

#[cfg(not(loom))]
mod spinning {
    use std::hint;
    use std::thread;
    use std::time::Duration;

    pub(crate) use spin::mutex::SpinMutexGuard as MutexGuard;

    /// A lock that is let go of by a plain store. It is held for some ten nanoseconds, so that
    /// whoever finds it taken looks again soon, and sleeps where its owner was interrupted.
    pub(crate) struct Mutex<T>(spin::mutex::SpinMutex<T>);

    impl<T> Mutex<T> {
        pub(crate) const fn new(value: T) -> Self {
            Self(spin::mutex::SpinMutex::new(value))
        }

        #[inline]
        pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
            match self.0.try_lock() {
                Some(guard) => guard,
                None => self.wait(),
            }
        }

        #[cold]
        fn wait(&self) -> MutexGuard<'_, T> {
            let mut turn = 0;
            loop {
                pause(turn);
                if !self.0.is_locked() {
                    if let Some(guard) = self.0.try_lock() {
                        return guard;
                    }
                }
                turn += 1;
            }
        }
    }

    /// Ever longer, for some tens of microseconds in all; then whoever else can run; then 50 µs.
    #[expect(clippy::disallowed_methods, reason = "the owner of the lock has to be let run")]
    fn pause(turn: u32) {
        match turn {
            0..SPINS => (0..8 << turn.min(5)).for_each(|_| hint::spin_loop()),
            SPINS..YIELDS => thread::yield_now(),
            _ => thread::sleep(Duration::from_micros(50)),
        }
    }

    const SPINS: u32 = 16;
    const YIELDS: u32 = 24;
}

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

    /// A thread that sleeps. Not loom's `park`, which forgets a wake-up of a thread that waits for a
    /// lock just then.
    #[cfg(feature = "clock")]
    pub(crate) struct Sleeper {
        is_woken: Mutex<bool>,
        wakes: loom::sync::Condvar,
    }

    #[cfg(feature = "clock")]
    impl Sleeper {
        pub(crate) fn new() -> Self {
            Self { is_woken: Mutex::new(false), wakes: loom::sync::Condvar::new() }
        }

        /// Time stands still while loom explores: only being woken ends it.
        pub(crate) fn sleep(&self, _: Option<std::time::Duration>) {
            let mut is_woken = self.is_woken.lock();
            while !*is_woken {
                is_woken = self.wakes.wait(is_woken).unwrap_or_else(PoisonError::into_inner);
            }
            *is_woken = false;
        }

        pub(crate) fn wake(&self) {
            *self.is_woken.lock() = true;
            self.wakes.notify_one();
        }
    }
}
