//! Those who wait in an `Admission`, polled by hand on tokio's paused clock.
//!
//! A future is polled once when it is made and then only when it was woken, so a wake-up that is
//! lost is a waiter that stays. Invariant: nothing is polled twice for one wake-up.
#![expect(clippy::disallowed_methods, reason = "tests of what waits")]

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use paceline_core::{Admission, Demand, Instant, Receipt, Refusal};
use tokio::runtime::{EnterGuard, Runtime};
use tokio::task::unconstrained;
use tokio::time::sleep_until;

use super::driver::{Answer, Unable};

type Waiting = Pin<Box<dyn Future<Output = Result<Receipt, Refusal>>>>;

/// An admission and those who wait in it.
pub(crate) struct Futures {
    runtime: Runtime,
    admission: Arc<dyn Admission>,
    base: Instant,
    start: tokio::time::Instant,
    waiters: Vec<Waiter>,
    answers: Vec<Answer>,
}

struct Waiter {
    call: String,
    future: Waiting,
    woken: Arc<Woken>,
}

/// The waker of one waiter.
#[derive(Default)]
struct Woken {
    flag: AtomicBool,
    outer: Mutex<Option<Waker>>,
}

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.flag.store(true, Ordering::SeqCst);
        let outer = self.outer.lock().expect("nobody panics").take();
        outer.into_iter().for_each(Waker::wake);
    }
}

impl Futures {
    /// Makes the admission on a paused clock of its own.
    pub(crate) fn new<T: Admission + 'static>(make: impl FnOnce() -> Arc<T>) -> (Self, Arc<T>) {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        let runtime = builder.enable_time().start_paused(true).build().expect("a runtime");
        let entered = runtime.enter();
        let made = make();
        let admission: Arc<dyn Admission> = Arc::<T>::clone(&made);
        let (base, start) = (admission.now(), tokio::time::Instant::now());
        drop(entered);
        let (waiters, answers) = (Vec::new(), Vec::new());
        (Self { runtime, admission, base, start, waiters, answers }, made)
    }

    /// The runtime's clock, for as long as the guard lives.
    pub(crate) fn enter(&self) -> EnterGuard<'_> {
        self.runtime.enter()
    }

    pub(crate) const fn base(&self) -> Instant {
        self.base
    }

    pub(crate) fn admission(&self) -> &dyn Admission {
        &*self.admission
    }

    /// One tick of the timer, and one more where it falls between two.
    pub(crate) const LATENESS: Duration = Duration::from_millis(2);

    pub(crate) fn pass(&mut self, at: Duration) -> Result<(), Unable> {
        if at.subsec_nanos() % 1_000_000 != 0 {
            return Err(Unable("its timers know whole milliseconds"));
        }
        let target = self.start + at;
        let Self { runtime, admission, base, waiters, answers, .. } = self;
        let _entered = runtime.enter();
        if target < tokio::time::Instant::now() {
            return Err(Unable("its clock never steps back"));
        }
        runtime.block_on(async {
            let mut sleep = pin!(unconstrained(sleep_until(target)));
            let until = poll_fn(|context| {
                serve(waiters, answers, &**admission, *base, context.waker());
                sleep.as_mut().poll(context)
            });
            unconstrained(until).await;
        });
        Ok(())
    }

    /// As a machine that was suspended sees it: no timer fires on the way.
    pub(crate) fn leap(&mut self, at: Duration) {
        let target = self.start + at;
        self.runtime.block_on(async {
            let now = tokio::time::Instant::now();
            tokio::time::advance(target.saturating_duration_since(now)).await;
        });
    }

    pub(crate) fn wait(&mut self, call: &str, demand: Demand) {
        let admission = Arc::clone(&self.admission);
        let future = Box::pin(async move { admission.acquire(&demand).await });
        let woken = Arc::new(Woken::default());
        woken.flag.store(true, Ordering::SeqCst);
        self.waiters.push(Waiter { call: call.to_owned(), future, woken });
        self.serve();
    }

    pub(crate) fn leave(&mut self, call: &str) -> bool {
        let _entered = self.runtime.enter();
        let place = self.waiters.iter().position(|waiter| waiter.call == call);
        place.map(|place| drop(self.waiters.remove(place))).is_some()
    }

    pub(crate) fn answers(&mut self) -> Vec<Answer> {
        self.serve();
        std::mem::take(&mut self.answers)
    }

    /// Polls one future once and lets it go; `None` where it is not ready.
    pub(crate) fn poll_once(&self, demand: &Demand) -> Option<Result<Receipt, Refusal>> {
        let _entered = self.runtime.enter();
        let mut future = pin!(self.admission.acquire(demand));
        match future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(answer) => Some(answer),
            Poll::Pending => None,
        }
    }

    fn serve(&mut self) {
        let Self { runtime, admission, base, waiters, answers, .. } = self;
        runtime.block_on(unconstrained(poll_fn(|context| {
            serve(waiters, answers, &**admission, *base, context.waker());
            Poll::Ready(())
        })));
    }
}

impl Drop for Futures {
    /// Those who still wait leave on the clock they waited on.
    fn drop(&mut self) {
        let _entered = self.runtime.enter();
        self.waiters.clear();
    }
}

/// Polls whoever was woken, until nobody is.
fn serve(
    waiters: &mut Vec<Waiter>,
    answers: &mut Vec<Answer>,
    admission: &dyn Admission,
    base: Instant,
    outer: &Waker,
) {
    let most = 10 * (waiters.len() + 10);
    for waiter in waiters.iter() {
        *waiter.woken.outer.lock().expect("nobody panics") = Some(outer.clone());
    }
    for _ in 0..most {
        let woken = |waiter: &Waiter| waiter.woken.flag.swap(false, Ordering::SeqCst);
        let Some(place) = waiters.iter().position(woken) else { return };
        let Some(waiter) = waiters.get_mut(place) else { return };
        let waker = Waker::from(Arc::clone(&waiter.woken));
        let polled = waiter.future.as_mut().poll(&mut Context::from_waker(&waker));
        if let Poll::Ready(answer) = polled {
            let Waiter { call, .. } = waiters.remove(place);
            answers.push(Answer { call, at: admission.now().since(base), answer });
        }
    }
    panic!("{most} polls at one moment: a hot loop");
}
