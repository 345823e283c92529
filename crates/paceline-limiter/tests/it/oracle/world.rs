//! One small world: a limiter, its calls, the truth about them, and what judges it.
//!
//! Time is the truth's; the limiter is told what its clock shows. What happens is decided by a
//! seed alone.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use paceline_core::{Dimension, Instant, LimitKey, Receipt, Refusal};
use paceline_limiter::{ChargeRule, Limit, Limiter, Pacing, Snapshot, Ticket};
use paceline_sim::engine::Call as Judged;

use super::books::{Books, Kind};
use super::judge::{Judge, Pace};
use super::plan::{Fate, Plan, nanos};
use super::random::Random;
use super::server::{self, MOST, Metered};
use super::tally::Tally;

/// What is found to be broken, or nothing.
pub(crate) type Verdict<T = ()> = Result<T, String>;

/// A limiter and all that is true about it.
#[derive(Debug)]
pub(crate) struct World {
    pub(super) random: Random,
    pub(super) plan: Plan,
    pub(super) limiter: Limiter,
    pub(super) watched: Vec<Watched>,
    /// The true time, and by how much the limiter's clock is off.
    pub(super) truth: u64,
    pub(super) offset: i64,
    /// The latest moment that the limiter was told.
    pub(super) told: u64,
    /// How many operations there were, and how often the clock leaped or a process ended.
    pub(super) operation: u64,
    pub(super) era: u32,
    pub(super) again: u64,
    pub(super) events: BinaryHeap<Reverse<(u64, u64, Event)>>,
    pub(super) scheduled: u64,
    pub(super) calls: Vec<Call>,
    pub(super) free: Vec<usize>,
    pub(super) waiting: Vec<(Ticket, Fate)>,
    pub(super) in_flight: usize,
    pub(super) foreign: Vec<Foreign>,
    /// Whether there is no process that could be told anything.
    pub(super) is_down: bool,
    pub(super) pauses: Vec<(LimitKey, Option<Dimension>, u64)>,
    pub(super) stale: Vec<Receipt>,
    pub(super) tally: Tally,
}

/// A limit and what judges it.
#[derive(Debug)]
pub(crate) struct Watched {
    pub(super) limit: Limit,
    /// The amount in force, and the most that ever was: the server's.
    pub(super) most: u64,
    pub(super) top: u64,
    pub(super) books: Books,
    pub(super) judge: Option<Judge>,
    pub(super) pace: Option<Pace>,
    pub(super) meters: Vec<Metered>,
    pub(super) pacer: Option<Metered>,
    /// Under Flow: what is in flight, the most of it there ever was, the largest call and the
    /// longest flight.
    pub(super) flying: u64,
    pub(super) most_flying: u64,
    pub(super) largest: u64,
    pub(super) longest: u64,
}

/// A call that was admitted.
#[derive(Debug)]
pub(crate) struct Call {
    pub(super) fate: Fate,
    pub(super) receipt: Receipt,
    /// Which admission it was.
    pub(super) number: u64,
    pub(super) era: u32,
    /// The limit in force when it was admitted, of each.
    pub(super) limits: [u64; 3],
    /// In the limiter's time.
    pub(super) admitted: u64,
    pub(super) sent: u64,
    pub(super) was_told: bool,
    /// Its process ended.
    pub(super) is_dead: bool,
    /// The operation by which its usage was heard; `u64::MAX`: not yet.
    pub(super) heard: u64,
    pub(super) pending: u32,
    pub(super) judged: [[Option<Judged>; MOST]; 3],
}

/// A call that the limiter did not admit.
#[derive(Clone, Debug)]
pub(crate) struct Foreign {
    pub(super) fate: Fate,
    pub(super) number: u64,
    pub(super) at: u64,
    /// How long it was on its way.
    pub(super) way: u64,
    pub(super) told: u64,
}

/// What is still to happen, to the call in a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Event {
    Send(usize),
    Arrive(usize),
    Head(usize),
    End(usize),
    Hear(usize),
    Cancel(usize),
    ForeignCounts(usize),
    ForeignTold(usize),
}

impl Watched {
    fn new(limit: &Limit, plan: &Plan, random: &mut Random) -> Self {
        let window = limit.quota().window().map_or(0, nanos);
        let kind = match limit.rule() {
            _ if limit.pacing() == Pacing::Bucket => Kind::Bucket,
            ChargeRule::WhileInFlight => Kind::InFlight,
            _ if window == 0 => Kind::Spent,
            ChargeRule::Flow => Kind::Flow,
            ChargeRule::Completion => Kind::Completion,
            _ => Kind::Arrival,
        };
        let is_kept = matches!(kind, Kind::Arrival | Kind::Completion);
        let is_edited = limit.rule() == ChargeRule::HeldMax;
        let habits = &plan.habits;
        let most = limit.quota().limit().get();
        Self {
            limit: limit.clone(),
            most,
            top: most,
            books: Books::new(kind, window, nanos(limit.delay_bound())),
            judge: is_kept.then(|| Judge::new(window, is_edited)),
            pace: (kind == Kind::Flow).then(|| Pace::new(window)),
            meters: if habits.is_judged || kind == Kind::Flow {
                server::shapes(limit, habits, random)
            } else {
                Vec::new()
            },
            pacer: habits.is_paced.then(|| server::pacer(limit, habits)).flatten(),
            flying: 0,
            most_flying: 0,
            largest: 0,
            longest: 0,
        }
    }

    /// What a call reserves here, and what it uses; `None` where it is not counted.
    pub(super) fn asked(&self, fate: &Fate) -> Option<(u64, u64)> {
        if !fate.demand.is_counted_by(self.limit.key()) {
            return None;
        }
        Some(match self.limit.dimension() {
            Dimension::TotalTokens | Dimension::Money => (fate.upper, fate.used),
            _ => (1, 1),
        })
    }

    /// Whether its usage is told at the end.
    pub(super) fn is_named(&self) -> bool {
        matches!(self.limit.dimension(), Dimension::TotalTokens | Dimension::Money)
    }
}

impl World {
    pub(crate) fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let plan = Plan::random(&mut random);
        let watched: Vec<_> =
            plan.limits.iter().map(|limit| Watched::new(limit, &plan, &mut random)).collect();
        let mut limiter = Limiter::new();
        for limit in &plan.limits {
            limiter.add(limit.clone()).expect("a legal limit");
        }
        let offset = i64::try_from(random.below(1 << 45)).expect("small");
        Self {
            random,
            plan,
            limiter,
            watched,
            truth: START,
            offset,
            told: 0,
            operation: 0,
            era: 0,
            again: 0,
            events: BinaryHeap::new(),
            scheduled: 0,
            calls: Vec::new(),
            free: Vec::new(),
            waiting: Vec::new(),
            in_flight: 0,
            foreign: Vec::new(),
            is_down: false,
            pauses: Vec::new(),
            stale: Vec::new(),
            tally: Tally::default(),
        }
    }

    /// Runs for so many operations, and then until nothing is left to happen.
    pub(crate) fn run(&mut self, operations: u64) -> Verdict {
        let result = self.run_all(operations);
        self.tally.steps += self.operation;
        self.tally.worlds += 1;
        for pace in self.watched.iter().filter_map(|watched| watched.pace.as_ref()) {
            self.tally.flow_above += pace.above;
            self.tally.flow_beyond += pace.beyond_stated;
        }
        result
    }

    fn run_all(&mut self, operations: u64) -> Verdict {
        while self.operation < operations {
            let gap = self.random.short(self.plan.gap);
            self.pass(self.truth + gap)?;
            for _ in 0..self.random.between(1, 3) {
                self.do_something()?;
            }
            self.serve()?;
        }
        self.drain()
    }

    /// Lets everything happen that is due by `until`, in order.
    pub(super) fn pass(&mut self, until: u64) -> Verdict {
        while let Some(Reverse((at, _, event))) = self.events.peek().copied() {
            if at > until {
                break;
            }
            self.events.pop();
            self.truth = self.truth.max(at);
            self.happen(event)?;
            if self.random.one_in(2) {
                self.serve()?;
            }
        }
        self.truth = self.truth.max(until);
        Ok(())
    }

    pub(super) fn schedule(&mut self, at: u64, event: Event) {
        self.scheduled += 1;
        self.events.push(Reverse((at, self.scheduled, event)));
    }

    /// When something happens next.
    pub(super) fn next_event(&self) -> u64 {
        self.events.peek().map_or(u64::MAX, |Reverse((at, ..))| *at)
    }

    /// Counts an operation on the limiter, and says what its clock shows.
    pub(super) fn operate(&mut self) -> Instant {
        self.operation += 1;
        self.clock()
    }

    /// What the limiter's clock shows. The limiter takes the latest that it was ever told.
    pub(super) fn clock(&mut self) -> Instant {
        let shown = self.truth.saturating_add_signed(self.offset);
        self.told = self.told.max(shown);
        Instant::from_nanos(shown)
    }

    fn do_something(&mut self) -> Verdict {
        let habits = self.plan.habits;
        match self.random.below(64) {
            0 if habits.changes => self.change_limit(),
            1 if habits.steps_back || habits.leaps => {
                self.move_clock();
                Ok(())
            }
            2 if self.random.one_in(2) => self.pause(),
            3 => self.resume(),
            4 if habits.tightens => self.observe(),
            5 if habits.foreign => self.meet_foreign(),
            6 if habits.restarts && self.random.one_in(8) => self.restart(),
            7 => self.ask_stale(),
            8..16 => {
                let now = self.operate();
                let seen = self.limiter.snapshot(now);
                self.check_books(&seen)
            }
            16..28 if habits.queues => self.enqueue(),
            _ => self.try_acquire(),
        }
    }

    fn try_acquire(&mut self) -> Verdict {
        let fate = self.plan.fate(&mut self.random);
        let now = self.operate();
        let before = self.random.one_in(4).then(|| self.limiter.snapshot(now));
        let saved = self.random.one_in(32).then(|| self.limiter.save(now));
        match self.limiter.try_acquire(&fate.demand, now) {
            Ok(receipt) if before.is_some() && self.random.one_in(8) => {
                // S2: what is taken back at once has changed nothing.
                if !self.limiter.cancel_unsent(receipt, now) {
                    return Err("a receipt that can't be taken back".into());
                }
                self.tally.cancelled += 1;
                self.compare(before.as_ref(), saved.as_ref(), now)
            }
            Ok(receipt) => self.admit(fate, receipt),
            Err(refusal) => {
                self.tally.refusals += 1;
                self.compare(before.as_ref(), saved.as_ref(), now)?;
                self.check_refusal(&fate, &refusal)?;
                self.wait_for(fate, &refusal)
            }
        }
    }

    /// S2: a refused, cancelled or abandoned demand changes nothing.
    pub(super) fn compare(
        &mut self,
        before: Option<&Snapshot>,
        saved: Option<&paceline_limiter::Saved>,
        now: Instant,
    ) -> Verdict {
        if let Some(before) = before {
            let after = self.limiter.snapshot(now);
            if *before != after {
                return Err(format!("S2: {before:?} became {after:?}"));
            }
            self.tally.compared += 1;
        }
        if let Some(saved) = saved {
            let after = self.limiter.save(now);
            if *saved != after {
                return Err(format!("S2: {saved:?} became {after:?}"));
            }
        }
        Ok(())
    }

    /// `Never` means above a limit, `Exhausted` means spent.
    fn check_refusal(&mut self, fate: &Fate, refusal: &Refusal) -> Verdict {
        let asked = |watched: &Watched| watched.asked(fate).map(|(reserved, _)| reserved);
        let is_above = self.watched.iter().any(|w| asked(w).is_some_and(|asked| asked > w.most));
        match refusal {
            Refusal::Never { .. } if is_above => {
                self.tally.never += 1;
                Ok(())
            }
            Refusal::Exhausted { .. } | Refusal::NotUntil(_) if !is_above => Ok(()),
            // The first limit that is asked may say that it is spent.
            Refusal::Exhausted { .. } => Ok(()),
            other => Err(format!("{other:?} for {fate:?}")),
        }
    }

    /// L1: if nothing else happens until the computed moment, the demand is admitted then.
    fn wait_for(&mut self, fate: Fate, refusal: &Refusal) -> Verdict {
        let Refusal::NotUntil(blocked) = refusal else { return Ok(()) };
        let Some(until) = blocked.until else { return self.check_hopeless() };
        let at = self.true_time(until);
        let is_exact = self.watched.iter().all(|watched| watched.pace.is_none());
        if !is_exact || !self.waiting.is_empty() || at >= self.next_event() || self.random.one_in(4)
        {
            return Ok(());
        }
        if until.as_nanos() <= self.told {
            return Err(format!("L1: refused at {}, to be asked again at {until}", self.told));
        }
        self.truth = self.truth.max(at);
        self.tally.waited += 1;
        let now = self.operate();
        match self.limiter.try_acquire(&fate.demand, now) {
            Ok(receipt) => self.admit(fate, receipt),
            Err(refusal) => Err(format!("L1: promised for {until}, refused then: {refusal:?}")),
        }
    }

    /// L1: time alone helps where nothing has to end first, under Flow neither.
    pub(super) fn check_hopeless(&self) -> Verdict {
        if self.in_flight == 0 {
            return Err("L1: nothing is in flight, and time alone does not help".into());
        }
        Ok(())
    }

    /// When the limiter's clock shows a moment.
    pub(super) fn true_time(&self, shown: Instant) -> u64 {
        shown.as_nanos().saturating_add_signed(-self.offset)
    }

    /// S3, and the bound on what is in flight.
    pub(super) fn check_books(&mut self, seen: &Snapshot) -> Verdict {
        if seen.in_flight != self.in_flight || seen.waiting != self.waiting.len() {
            return Err(format!(
                "{} in flight, {} waiting: {seen:?}",
                self.in_flight,
                self.waiting.len()
            ));
        }
        for (watched, said) in self.watched.iter_mut().zip(&seen.limits) {
            if said.quota.limit().get() != watched.most {
                return Err(format!("{} in force: {said:?}", watched.most));
            }
            watched.books.check(said, self.told).map_err(|why| format!("{why}: {said:?}"))?;
        }
        Ok(())
    }
}

/// Late enough that any window before it can be told.
const START: u64 = 200_000_000_000_000;
