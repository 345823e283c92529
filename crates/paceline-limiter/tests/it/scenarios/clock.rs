//! The form for threads: `clock::SharedLimiter` on a clock that is set by hand, a blocked thread
//! for each who waits.
//!
//! A parked thread does not see that clock, so the driver stands in for its timer: at the moment
//! the limiter names it wakes the first of those who wait and nobody else. Whoever else may go has
//! to be woken by the limiter, and so has whoever becomes the first or is to wait for another
//! moment, as it has to look for itself how long to sleep. Invariant: time moves only when whoever
//! could be answered has been, so each answer has the moment it was given.
#![expect(clippy::disallowed_methods, reason = "tests of what waits")]

use std::collections::HashMap;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::{self, Thread, ThreadId};
use std::time::Duration;

use paceline_core::{Clock, Demand, Instant, ManualClock, Receipt, Refusal};
use paceline_limiter::clock::SharedLimiter;
use paceline_limiter::{Limiter, Snapshot};

use super::driver::{Act, Answer, Driver, Unable};

/// A shared limiter, its clock, and the threads that wait.
pub(crate) struct Blocking {
    limiter: SharedLimiter<Watched>,
    clock: Watched,
    base: Instant,
    waiting: Vec<Waiter>,
    answers: Vec<Answer>,
    tell: Sender<Answer>,
    told: Receiver<Answer>,
    /// The timer as it was last set, and how often each thread had looked by then.
    timer: Timer,
    looked: HashMap<ThreadId, u64>,
}

/// Whose it is, and when it goes off.
type Timer = Option<(String, Option<Instant>)>;

/// A clock that counts who looks at it.
#[derive(Clone, Debug, Default)]
struct Watched {
    clock: ManualClock,
    looks: Arc<Mutex<HashMap<ThreadId, u64>>>,
}

impl Watched {
    fn looks(&self) -> HashMap<ThreadId, u64> {
        self.looks.lock().expect("nobody panics").clone()
    }
}

impl Clock for Watched {
    fn now(&self) -> Instant {
        let now = self.clock.now();
        let mut looks = self.looks.lock().expect("nobody panics");
        *looks.entry(thread::current().id()).or_default() += 1;
        now
    }
}

struct Waiter {
    call: String,
    thread: Thread,
    deadline: Option<Instant>,
}

impl Blocking {
    pub(crate) fn new(limiter: Limiter, base: Instant) -> Self {
        let clock = Watched::default();
        clock.clock.set(base);
        let limiter = SharedLimiter::with_clock(limiter, clock.clone());
        let (tell, told) = channel();
        let (waiting, answers, looked) = (Vec::new(), Vec::new(), HashMap::new());
        Self { limiter, clock, base, waiting, answers, tell, told, timer: None, looked }
    }

    /// The first one's timer goes off.
    fn wake_first(&self) {
        self.waiting.iter().take(1).for_each(|first| first.thread.unpark());
    }

    /// When the limiter has promised to look again: by the snapshot, and after each deadline.
    fn next(&self) -> Option<Instant> {
        let just_after = Duration::from_nanos(1);
        let expiries = self.waiting.iter().filter_map(|waiter| waiter.deadline);
        let head = self.limiter.snapshot().blocked.and_then(|blocked| blocked.until);
        head.into_iter().chain(expiries.map(|deadline| deadline + just_after)).min()
    }

    fn timer(&self) -> Timer {
        self.waiting.first().map(|first| (first.call.clone(), self.next()))
    }

    /// Whether the first has looked since the timer was last what it is not now.
    fn has_looked(&self) -> bool {
        let Some(first) = self.waiting.first() else { return true };
        let id = first.thread.id();
        self.timer() == self.timer || self.clock.looks().get(&id) > self.looked.get(&id)
    }

    /// Whether everybody who can be answered now has been, and the timer is set.
    fn is_quiet(&self) -> bool {
        let snapshot = self.limiter.snapshot();
        let is_late = |waiter: &Waiter| waiter.deadline.is_some_and(|at| at < snapshot.at);
        snapshot.waiting == self.waiting.len()
            && (self.waiting.is_empty() || snapshot.blocked.is_some())
            && !self.waiting.iter().any(is_late)
            && self.has_looked()
    }

    /// Takes in the answers of this moment until there are no more to come. Which of several
    /// threads goes on first is the system's affair: they are put in the order of their arrival.
    fn serve(&mut self) {
        let mut told = Vec::new();
        let mut turns = 0;
        let arrival: Vec<String> = self.waiting.iter().map(|one| one.call.clone()).collect();
        while !self.is_quiet() {
            match self.told.recv_timeout(TURN) {
                Ok(answer) => {
                    self.waiting.retain(|waiter| waiter.call != answer.call);
                    told.push(answer);
                }
                Err(_) => turns += 1,
            }
            assert!(turns < TURNS, "a wake-up is lost at {}: {:?}", self.clock.now(), self.limiter);
        }
        told.sort_by_key(|answer| arrival.iter().position(|call| *call == answer.call));
        self.answers.extend(told);
        (self.timer, self.looked) = (self.timer(), self.clock.looks());
    }
}

impl Driver for Blocking {
    fn base(&self) -> Instant {
        self.base
    }

    fn pass(&mut self, at: Duration) -> Result<(), Unable> {
        let target = self.base + at;
        self.serve();
        while let Some(next) = self.next().filter(|next| *next <= target) {
            assert!(next > self.clock.now(), "a wait of zero at {}", self.clock.now());
            self.clock.clock.set(next);
            self.wake_first();
            self.serve();
        }
        // It may step back.
        self.clock.clock.set(target);
        Ok(())
    }

    fn leap(&mut self, at: Duration) -> Result<(), Unable> {
        self.clock.clock.set(self.base + at);
        self.wake_first();
        Ok(())
    }

    fn ask(&mut self, demand: &Demand) -> Result<Receipt, Refusal> {
        self.limiter.try_acquire(demand)
    }

    fn act(&mut self, act: Act) -> Result<(), Unable> {
        // Whether the receipt was outstanding shows in what it changed.
        let _outstanding = match act {
            Act::Sent(receipt) => self.limiter.sent(receipt),
            Act::Head(receipt) => self.limiter.head_received(receipt),
            Act::Settle(receipt, actual) => self.limiter.settle(receipt, &actual),
            Act::Cancel(receipt) => self.limiter.cancel_unsent(receipt),
            Act::SetLimit(key, dimension, quota) => {
                assert!(self.limiter.set_limit(&key, dimension, quota), "no such limit");
                true
            }
            Act::Pause(key, dimension, until) => {
                self.limiter.pause(&key, dimension, until);
                true
            }
            Act::Observe(observation) => {
                self.limiter.observe(&observation);
                true
            }
            Act::RecordPast(demand, at) => {
                self.limiter.record_past(&demand, at);
                true
            }
        };
        Ok(())
    }

    fn wait(&mut self, call: &str, demand: Demand) -> Result<(), Unable> {
        let (limiter, clock, tell) = (self.limiter.clone(), self.clock.clone(), self.tell.clone());
        let (base, deadline) = (self.base, demand.latest_admission());
        let name = call.to_owned();
        let thread = thread::spawn(move || {
            let answer = limiter.acquire(&demand);
            let at = clock.now().since(base);
            // Nobody listens any more where the scenario went wrong.
            drop(tell.send(Answer { call: name, at, answer }));
        });
        let thread = thread.thread().clone();
        self.waiting.push(Waiter { call: call.to_owned(), thread, deadline });
        self.serve();
        Ok(())
    }

    fn leave(&mut self, _call: &str) -> Result<bool, Unable> {
        // Its thread stays parked until the process ends.
        Err(Unable("a thread that is blocked can't leave"))
    }

    fn answers(&mut self) -> Vec<Answer> {
        self.serve();
        std::mem::take(&mut self.answers)
    }

    fn look(&mut self) -> Result<Snapshot, Unable> {
        self.serve();
        Ok(self.limiter.snapshot())
    }
}

/// How long to wait for a thread before looking again, and how often.
const TURN: Duration = Duration::from_millis(1);
const TURNS: u32 = 20_000;
