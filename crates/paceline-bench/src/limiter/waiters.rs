//! Many who wait in line: how often each is polled, and what serving them costs.
//!
//! They queue up at once on one thread and are let through 2,000 in a second, in real
//! time, because no peer but one runs on tokio's paused clock. CPU time is the whole process's, so
//! that a peer's own timer thread counts, too. Invariant: whoever waits is polled through the same
//! counter, in a task of its own.

use std::fmt;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Instant;

use super::timer::runtime;
use crate::cpu::process_cpu;

/// How many wait, and how many are let through in a second.
pub(super) const WAITERS: usize = 2_000;

/// What letting everybody through came to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Drained {
    /// Polls for each who waited.
    pub(super) polls: f64,
    /// Not a number where the system does not tell.
    pub(super) cpu_ms: f64,
    pub(super) wall_s: f64,
}

/// Those who wait for one limiter.
pub(super) struct Crowd {
    /// What the limiter is called in the name of a row.
    pub(super) name: &'static str,
    /// What is awaited, of which version.
    pub(super) title: String,
    drain: Box<dyn FnMut() -> Drained>,
}

impl Crowd {
    /// `limiter` makes a fresh limiter, and of it what makes one who waits.
    pub(super) fn new<L, W, F>(name: &'static str, title: impl Into<String>, mut limiter: L) -> Self
    where
        L: FnMut() -> W + 'static,
        W: Fn() -> F,
        F: Future<Output = ()> + Send + 'static,
    {
        let drain = Box::new(move || {
            let runtime = runtime();
            runtime.block_on(async { drain(limiter()).await })
        });
        Self { name, title: title.into(), drain }
    }

    /// Lets everybody through.
    pub(super) fn drain(&mut self) -> Drained {
        (self.drain)()
    }
}

impl fmt::Debug for Crowd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Crowd").field("title", &self.title).finish_non_exhaustive()
    }
}

async fn drain<F: Future<Output = ()> + Send + 'static>(waiter: impl Fn() -> F) -> Drained {
    let polls = Arc::new(AtomicU64::new(0));
    let (started, cpu) = (Instant::now(), process_cpu());
    let waiting: Vec<_> = (0..WAITERS)
        .map(|_| {
            let waiter = waiter();
            let polls = Arc::clone(&polls);
            tokio::spawn(async move {
                let waiter = pin!(waiter);
                Counted { waiter, polls: &polls }.await;
            })
        })
        .collect();
    for one in waiting {
        one.await.expect("who waits does not panic");
    }
    let spent = process_cpu().zip(cpu).map(|(after, before)| after.saturating_sub(before));
    Drained {
        polls: per_waiter(polls.load(Ordering::Relaxed)),
        cpu_ms: spent.map_or(f64::NAN, |spent| spent.as_secs_f64() * 1e3),
        wall_s: started.elapsed().as_secs_f64(),
    }
}

/// A future whose polls are counted.
struct Counted<'a, F> {
    waiter: Pin<&'a mut F>,
    polls: &'a AtomicU64,
}

impl<F: Future> Future for Counted<'_, F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        self.polls.fetch_add(1, Ordering::Relaxed);
        self.waiter.as_mut().poll(context)
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts far below 2^52")]
fn per_waiter(polls: u64) -> f64 {
    polls as f64 / WAITERS as f64
}
