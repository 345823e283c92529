//! Times several subjects against each other: in turns, in one run, on one machine.
//!
//! criterion measures one routine after the other, each with a sample size of its own; a machine
//! that is slower for a while in between makes a ratio of two such figures wrong by that much. So
//! the few lines that measure are here: in every round each subject runs for about 5 ms, every
//! other round in the opposite order, and what counts is the median of the rounds' ratios.
//!
//! A subject acquires for 64 calls, then settles them; the two are timed apart, and what reading
//! the clock costs is taken off. Invariant: what is compared went through this same loop.

use std::fmt;
use std::future::Future;
use std::hint::{self, black_box};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use tokio::runtime::{Builder, Runtime};

/// Calls outstanding at once: acquired in one go, then settled in one go.
pub(super) const PLACES: usize = 64;

/// How long a subject runs in one round.
const TURN: Duration = Duration::from_millis(5);

/// How long a subject runs before it is measured.
const WARM_UP: Duration = Duration::from_millis(50);

/// How long it is tried to find out how many calls make a turn.
const MOST_WARM_UP: Duration = Duration::from_secs(2);

/// How often two threads are started that should run beside each other.
const TRIES: usize = 20;

/// The share of a turn by which they may start apart.
const APART: f64 = 0.05;

/// What decides.
pub(super) trait Subject {
    /// Whether what was granted is settled.
    const SETTLES: bool = false;

    /// One decision: whether it was granted. What is to be settled is kept in this place.
    fn acquire(&mut self, place: usize) -> bool;

    /// The call of this place is over.
    fn settle(&mut self, _place: usize) {}
}

/// What decides when it is awaited.
pub(super) trait Awaited {
    /// Whether what was granted is settled.
    const SETTLES: bool = false;

    /// One decision that need not wait.
    fn acquire(&mut self, place: usize) -> impl Future<Output = bool>;

    /// The call of this place is over.
    fn settle(&mut self, _place: usize) {}
}

/// A decision that leaves nothing to settle.
impl<F: FnMut() -> bool> Subject for F {
    fn acquire(&mut self, _place: usize) -> bool {
        self()
    }
}

/// The same, awaited.
impl<F: AsyncFnMut() -> bool> Awaited for F {
    async fn acquire(&mut self, _place: usize) -> bool {
        self().await
    }
}

/// What one turn came to, for one call.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Turn {
    pub(super) acquire_ns: f64,
    pub(super) settle_ns: f64,
    /// The share of the decisions that were granted.
    pub(super) granted: f64,
    /// How long the turn was.
    took: Duration,
}

impl Turn {
    /// One that says nothing.
    const VOID: Self =
        Self { acquire_ns: f64::NAN, settle_ns: f64::NAN, granted: f64::NAN, took: Duration::ZERO };

    /// Whether it says nothing.
    pub(super) const fn is_void(&self) -> bool {
        self.granted.is_nan()
    }
}

/// A subject that can be measured, whatever it is.
pub(super) struct Side {
    /// What it is called in the name of a row.
    pub(super) name: &'static str,
    /// What was called, of which version.
    pub(super) title: String,
    pub(super) settles: bool,
    run: Box<dyn FnMut(u64) -> Turn>,
}

impl Side {
    /// One that decides on the thread that asks.
    pub(super) fn new<S: Subject + 'static>(
        name: &'static str,
        title: impl Into<String>,
        mut subject: S,
    ) -> Self {
        let clock = clock_cost();
        let run = Box::new(move |chunks| calls(&mut subject, chunks, clock));
        Self { name, title: title.into(), settles: S::SETTLES, run }
    }

    /// One that two threads ask at once; the slower of them counts.
    pub(super) fn two_threads<S: Subject + Send + 'static>(
        name: &'static str,
        title: impl Into<String>,
        subjects: [S; 2],
    ) -> Self {
        let clock = clock_cost();
        let mut subjects = subjects;
        let run = Box::new(move |chunks| at_once(&mut subjects, chunks, clock));
        Self { name, title: title.into(), settles: S::SETTLES, run }
    }

    /// One that is awaited, on a runtime of its own.
    pub(super) fn awaited<S: Awaited + 'static>(
        name: &'static str,
        title: impl Into<String>,
        mut subject: S,
    ) -> Self {
        let clock = clock_cost();
        let runtime = runtime();
        let run =
            Box::new(move |chunks| runtime.block_on(awaited_calls(&mut subject, chunks, clock)));
        Self { name, title: title.into(), settles: S::SETTLES, run }
    }

    /// How many chunks fill a turn, found by running ever more of them.
    fn warm_up(&mut self) -> u64 {
        let started = Instant::now();
        let mut chunks = 1;
        loop {
            // A turn that is void took no time.
            let took = black_box((self.run)(chunks)).took;
            if took < TURN / 2 && started.elapsed() < MOST_WARM_UP {
                chunks *= 2;
            } else if started.elapsed() >= WARM_UP {
                let share = TURN.as_secs_f64() / took.max(TURN / 2).as_secs_f64();
                return scaled(chunks, share);
            }
        }
    }
}

impl fmt::Debug for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Side").field("title", &self.title).finish_non_exhaustive()
    }
}

/// The turns of every side, round by round.
pub(super) fn rounds(sides: &mut [Side], rounds: u32) -> Vec<Vec<Turn>> {
    let chunks: Vec<_> = sides.iter_mut().map(Side::warm_up).collect();
    let mut turns = vec![Vec::new(); sides.len()];
    let forward: Vec<_> = (0..sides.len()).collect();
    let backward: Vec<_> = forward.iter().rev().copied().collect();
    for round in 0..rounds {
        for &index in if round % 2 == 0 { &forward } else { &backward } {
            turns[index].push((sides[index].run)(chunks[index]));
        }
    }
    turns
}

/// The median of a figure.
pub(super) fn median(turns: &[Turn], figure: fn(&Turn) -> f64) -> f64 {
    middle(turns.iter().map(figure).collect())
}

/// The median of the rounds' ratios of one side's figure to another side's decision.
pub(super) fn median_ratio(turns: &[Turn], figure: fn(&Turn) -> f64, others: &[Turn]) -> f64 {
    middle(turns.iter().zip(others).map(|(turn, other)| figure(turn) / other.acquire_ns).collect())
}

/// The median of those that are numbers; not a number where there are none.
pub(super) fn middle(mut numbers: Vec<f64>) -> f64 {
    numbers.retain(|number| !number.is_nan());
    numbers.sort_by(f64::total_cmp);
    match (numbers.get(numbers.len() / 2), numbers.len() % 2) {
        (None, _) => f64::NAN,
        (Some(upper), 0) => f64::midpoint(numbers[numbers.len() / 2 - 1], *upper),
        (Some(middle), _) => *middle,
    }
}

/// A runtime on this thread alone.
pub(super) fn runtime() -> Runtime {
    Builder::new_current_thread().enable_time().build().expect("a runtime of one thread")
}

/// The loop: as many chunks of calls, one after the other.
#[inline(never)]
fn calls<S: Subject>(subject: &mut S, chunks: u64, clock: Duration) -> Turn {
    let mut sum = Sum::default();
    for _ in 0..chunks {
        let started = Instant::now();
        for place in 0..PLACES {
            sum.granted += u64::from(subject.acquire(place));
        }
        black_box(&mut *subject);
        let acquired = Instant::now();
        sum.acquire += (acquired - started).saturating_sub(clock);
        if S::SETTLES {
            for place in 0..PLACES {
                subject.settle(place);
            }
            black_box(&mut *subject);
            sum.settle += acquired.elapsed().saturating_sub(clock);
        }
    }
    sum.per_call(chunks)
}

/// The same loop, awaited.
async fn awaited_calls<S: Awaited>(subject: &mut S, chunks: u64, clock: Duration) -> Turn {
    let mut sum = Sum::default();
    for _ in 0..chunks {
        let started = Instant::now();
        for place in 0..PLACES {
            sum.granted += u64::from(subject.acquire(place).await);
        }
        black_box(&mut *subject);
        let acquired = Instant::now();
        sum.acquire += (acquired - started).saturating_sub(clock);
        if S::SETTLES {
            for place in 0..PLACES {
                subject.settle(place);
            }
            black_box(&mut *subject);
            sum.settle += acquired.elapsed().saturating_sub(clock);
        }
    }
    sum.per_call(chunks)
}

/// The loop on two threads, as many calls on each: the figures of the one that takes longer.
///
/// Turns in which they did not start together, because there was no core for one of them, say
/// nothing and are repeated; where none did, the turn is void.
fn at_once<S: Subject + Send>(subjects: &mut [S; 2], chunks: u64, clock: Duration) -> Turn {
    for _ in 0..TRIES {
        let [one, other] = beside_each_other(subjects, chunks, clock);
        let apart = one.started.max(other.started) - one.started.min(other.started);
        if apart <= one.turn.took.max(other.turn.took).mul_f64(APART) {
            let is_first_slower = one.turn.acquire_ns >= other.turn.acquire_ns;
            let slower = if is_first_slower { one.turn } else { other.turn };
            return Turn { granted: one.turn.granted.midpoint(other.turn.granted), ..slower };
        }
    }
    Turn::VOID
}

/// One thread's turn and when it began.
struct Lane {
    started: Instant,
    turn: Turn,
}

fn beside_each_other<S: Subject + Send>(
    subjects: &mut [S; 2],
    chunks: u64,
    clock: Duration,
) -> [Lane; 2] {
    let ready = AtomicUsize::new(0);
    thread::scope(|scope| {
        let ready = &ready;
        let threads = subjects.each_mut().map(|subject| {
            scope.spawn(move || {
                // Whoever sleeps until the other is there is woken on the other's core.
                ready.fetch_add(1, Ordering::AcqRel);
                while ready.load(Ordering::Acquire) < 2 {
                    hint::spin_loop();
                }
                let started = Instant::now();
                Lane { started, turn: calls(subject, chunks, clock) }
            })
        });
        threads.map(|thread| thread.join().expect("a subject does not panic"))
    })
}

#[derive(Default)]
struct Sum {
    acquire: Duration,
    settle: Duration,
    granted: u64,
}

impl Sum {
    #[expect(clippy::cast_precision_loss, reason = "counts far below 2^52")]
    fn per_call(&self, chunks: u64) -> Turn {
        let calls = (chunks * PLACES as u64) as f64;
        let each = |all: Duration| all.as_secs_f64() * 1e9 / calls;
        Turn {
            acquire_ns: each(self.acquire),
            settle_ns: each(self.settle),
            granted: self.granted as f64 / calls,
            took: self.acquire + self.settle,
        }
    }
}

/// What reading the clock costs, once in every timed stretch.
fn clock_cost() -> Duration {
    let costs = (0..10_001).map(|_| {
        let started = Instant::now();
        black_box(started.elapsed()).as_secs_f64()
    });
    Duration::from_secs_f64(middle(costs.collect()))
}

#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a count of some thousands times a small share"
)]
fn scaled(chunks: u64, share: f64) -> u64 {
    ((chunks as f64 * share) as u64).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Every(u64, usize);

    impl Subject for Every {
        const SETTLES: bool = true;

        fn acquire(&mut self, place: usize) -> bool {
            self.0 = black_box(self.0 + 1);
            place.is_multiple_of(self.1)
        }

        fn settle(&mut self, _place: usize) {
            self.0 = black_box(self.0 - 1);
        }
    }

    #[test]
    fn the_median_is_the_middle_one_or_between_the_two() {
        assert_eq!(middle(vec![3.0, 1.0, 2.0]), 2.0);
        assert_eq!(middle(vec![4.0, 1.0, 2.0, 3.0]), 2.5);
        assert_eq!(middle(vec![f64::NAN, 1.0]), 1.0);
        assert!(middle(Vec::new()).is_nan());
    }

    #[test]
    fn the_ratio_is_of_rounds_and_not_of_medians() {
        let turn = |acquire_ns| Turn { acquire_ns, ..Turn::default() };
        // The machine was ten times slower in the second round, for both.
        let ours = [turn(10.0), turn(120.0), turn(11.0)];
        let peers = [turn(10.0), turn(100.0), turn(10.0)];
        let ratio = median_ratio(&ours, |turn| turn.acquire_ns, &peers);
        assert!((ratio - 1.1).abs() < 1e-9);
        assert_eq!(median(&ours, |turn| turn.acquire_ns), 11.0);
    }

    #[test]
    fn every_side_has_a_turn_in_every_round_and_is_settled() {
        let mut sides = [
            Side::new("all", "all", Every(0, 1)),
            Side::two_threads("half", "half", [Every(0, 2), Every(0, 2)]),
        ];
        let turns = rounds(&mut sides, 3);
        assert_eq!(turns.iter().map(Vec::len).collect::<Vec<_>>(), [3, 3]);
        assert!(turns[0].iter().all(|turn| turn.granted == 1.0 && turn.settle_ns.is_finite()));
        // Where the machine is busy, the two threads may not have had a core each.
        assert!(turns[1].iter().all(|turn| turn.granted == 0.5 || turn.is_void()));
    }
}
