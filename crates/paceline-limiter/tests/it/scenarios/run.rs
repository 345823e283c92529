//! Runs one scenario through one form and says what is not as expected.
//!
//! Beside what a scenario expects, it checks what holds everywhere: a refusal changes nothing
//! (S2), its moment lies ahead, nobody is admitted whom no step expects, and once all calls are
//! over and the windows have passed, nothing is counted (S3).

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use paceline_core::{Actual, Blocked, Observation, Receipt, Refill, Refusal};
use paceline_limiter::{Limiter, QueuePolicy, Snapshot};

use super::driver::{Act, Answer, Calls, Driver, Form, Unable};
use super::format::{Action, Learned, Outcome, Range, Scenario, Step, Until};
use super::words::Counted;

/// Why a scenario did not pass.
#[derive(Clone, Debug)]
pub(crate) enum Problem {
    /// The form can't do or see something.
    Unable(String),
    /// Something is not as expected.
    Wrong(String),
}

struct Run<'a> {
    driver: Box<dyn Driver>,
    /// Every call that was admitted, by name.
    calls: Calls,
    /// Those that have no name.
    nameless: Vec<Receipt>,
    waiters: BTreeMap<&'a str, Expected>,
    last: Duration,
}

/// What a waiter will be told, and when.
#[derive(Clone, Copy)]
struct Expected {
    outcome: Outcome,
    within: Option<Range>,
}

/// Runs it from its first step to its last, and on until nothing is left.
pub(crate) fn run(scenario: &Scenario, form: Form) -> Result<(), Problem> {
    let driver = driver(scenario, form)?;
    let (calls, nameless, waiters) = (Calls::new(), Vec::new(), BTreeMap::new());
    let mut run = Run { driver, calls, nameless, waiters, last: Duration::ZERO };
    for (number, step) in scenario.steps.iter().enumerate() {
        run.step(step).map_err(|why| why.at(number, step))?;
    }
    run.finish().map_err(|why| why.told("at the end"))
}

fn driver(scenario: &Scenario, form: Form) -> Result<Box<dyn Driver>, Problem> {
    let mut limiter = Limiter::new();
    for limit in &scenario.limits {
        limiter.add(limit.clone()).map_err(|why| Problem::Wrong(why.to_string()))?;
    }
    if let Some(most) = scenario.max_waiting {
        let policy = QueuePolicy::new().max_waiting(most);
        limiter = limiter.with_queue(policy).map_err(|why| Problem::Wrong(why.to_string()))?;
    }
    Ok(match form {
        Form::Pure(base) => Box::new(super::pure::Pure::new(limiter, base)),
        #[cfg(feature = "clock")]
        Form::Clock(base) => Box::new(super::clock::Blocking::new(limiter, base)),
        #[cfg(feature = "tokio")]
        Form::Async => Box::new(super::waiting::Waiting::new(limiter)),
        #[cfg(feature = "tokio")]
        Form::Seam => Box::new(super::seam::Seam::new(limiter)),
    })
}

impl<'a> Run<'a> {
    fn step(&mut self, step: &'a Step) -> Result<(), Problem> {
        self.last = self.last.max(step.at.0);
        match step.action {
            Action::Leap => self.driver.leap(step.at.0)?,
            _ => self.driver.pass(step.at.0)?,
        }
        let mut granted = self.take_answers()?;
        let at_once = match step.action {
            Action::Acquire | Action::Call => self.ask(step)?,
            Action::Enqueue => self.enqueue(step)?,
            Action::Leave => self.leave(step)?,
            _ => self.change(step)?,
        };
        granted.extend(self.take_answers()?);
        if let Some(call) = at_once {
            granted.retain(|other| *other != call);
        }
        match &step.granted {
            Some(expected) => same("granted", expected, &granted)?,
            None if granted.iter().all(|call| self.told_when(call)) => {}
            None => return wrong(format!("granted, and no step expects it: {granted:?}")),
        }
        for call in granted {
            self.waiters.remove(call.as_str());
        }
        self.look(step)
    }

    /// Whether a waiter's own step says when it is admitted.
    fn told_when(&self, call: &str) -> bool {
        self.waiters.get(call).is_some_and(|expected| expected.within.is_some())
    }

    /// Takes in what waiters were told; returns who was admitted, in order.
    fn take_answers(&mut self) -> Result<Vec<String>, Problem> {
        let mut granted = Vec::new();
        for Answer { call, at, answer } in self.driver.answers() {
            let Some(expected) = self.waiters.get(call.as_str()).copied() else {
                return wrong(format!("{call} was told twice, or never asked"));
            };
            let outcome = outcome_of(&answer);
            if let Some(range) = expected.within {
                same(&format!("the answer of {call}"), &expected.outcome, &outcome)?;
                self.in_range(&format!("the moment of {call}"), range, at)?;
            } else if expected.outcome == Outcome::Waits && answer.is_err() {
                return wrong(format!("{call} waits and was refused: {answer:?}"));
            }
            match answer {
                Ok(receipt) => {
                    self.calls.insert(call.clone(), receipt);
                    granted.push(call);
                }
                Err(_) => drop(self.waiters.remove(call.as_str())),
            }
        }
        Ok(granted)
    }

    fn ask(&mut self, step: &Step) -> Result<Option<String>, Problem> {
        let demand = step.demand(self.driver.base());
        let mut admitted = 0;
        for _ in 0..step.times.unwrap_or(1) {
            let before = self.driver.look().ok();
            let answer = self.driver.ask(&demand);
            let outcome = outcome_of(&answer);
            if let Some(expected) = step.expect {
                same("the answer", &expected, &outcome)?;
            } else if answer.is_err() && outcome != Outcome::Waits {
                return wrong(format!("neither admitted nor refused for now: {answer:?}"));
            }
            match answer {
                Ok(receipt) => {
                    admitted += 1;
                    self.admitted(step, receipt)?;
                }
                Err(refusal) => {
                    let after = self.driver.look().ok();
                    if before != after {
                        return wrong(format!("a refusal changed {before:?} to {after:?}"));
                    }
                    self.refused(step, &refusal)?;
                }
            }
        }
        if let Some(expected) = step.admitted {
            same("how many were admitted", &expected, &admitted)?;
        }
        Ok(None)
    }

    fn admitted(&mut self, step: &Step, receipt: Receipt) -> Result<(), Problem> {
        if step.action == Action::Call {
            self.driver.act(Act::Sent(receipt))?;
            self.driver.act(Act::Head(receipt))?;
            self.driver.act(Act::Settle(receipt, Actual::new()))?;
        }
        match &step.call {
            Some(call) if self.calls.insert(call.clone(), receipt).is_some() => {
                wrong(format!("two calls are named {call}"))
            }
            Some(_) => Ok(()),
            None => {
                self.nameless.push(receipt);
                Ok(())
            }
        }
    }

    fn refused(&self, step: &Step, refusal: &Refusal) -> Result<(), Problem> {
        let Refusal::NotUntil(Blocked { by, until, .. }) = refusal else { return Ok(()) };
        let base = self.driver.base();
        let until = until.map(|until| until.since(base));
        if until.is_some_and(|until| until <= step.at.0) {
            return wrong(format!("a wait of zero: {refusal:?}"));
        }
        match step.until {
            None => {}
            Some(Until::Unknown(_)) => same("until", &None, &until)?,
            Some(Until::Range(range)) => match until {
                Some(until) => within("until", range, until, Duration::ZERO)?,
                None => return wrong("until is not known"),
            },
        }
        let Some(Counted(expected)) = step.by else { return Ok(()) };
        if !self.driver.names_limits() {
            return unable("its refusals name no limit");
        }
        same("what binds", &Some(expected), &by.as_ref().map(|by| by.dimension))
    }

    fn enqueue(&mut self, step: &'a Step) -> Result<Option<String>, Problem> {
        let (call, outcome) = (named(step)?, step.expect.ok_or("`expect` is missing")?);
        if self.waiters.contains_key(call) || self.calls.contains_key(call) {
            return wrong(format!("two calls are named {call}"));
        }
        let before = self.driver.look().ok();
        self.waiters.insert(call, Expected { outcome, within: step.within });
        self.driver.wait(call, step.demand(self.driver.base()))?;
        if step.within.is_some() || outcome == Outcome::Waits {
            return Ok(None);
        }
        // It is to be told now.
        let told = self.driver.answers();
        let [Answer { call: told_to, answer, .. }] = told.as_slice() else {
            return wrong(format!("{} answers at once: {told:?}", told.len()));
        };
        same("who is told at once", &call, &told_to.as_str())?;
        same("the answer", &outcome, &outcome_of(answer))?;
        self.waiters.remove(call);
        match answer {
            Ok(receipt) => drop(self.calls.insert(call.to_owned(), *receipt)),
            Err(_) => same("what a refusal leaves", &before, &self.driver.look().ok())?,
        }
        Ok(Some(call.to_owned()))
    }

    fn leave(&mut self, step: &'a Step) -> Result<Option<String>, Problem> {
        let call = named(step)?;
        if !self.driver.leave(call)? {
            return wrong(format!("{call} does not wait"));
        }
        match self.waiters.remove(call) {
            Some(Expected { within: Some(_), .. }) => wrong(format!("{call} leaves unanswered")),
            _ => Ok(None),
        }
    }

    fn change(&mut self, step: &Step) -> Result<Option<String>, Problem> {
        let base = self.driver.base();
        let act = match step.action {
            Action::Sent => Act::Sent(self.receipt(step)?),
            Action::Head => Act::Head(self.receipt(step)?),
            Action::Cancel => Act::Cancel(self.receipt(step)?),
            Action::Settle => {
                let mut actual = Actual::new();
                for (counted, used) in &step.used {
                    actual = actual.with(counted.0, *used);
                }
                Act::Settle(self.receipt(step)?, actual)
            }
            Action::SetLimit => {
                let key = step.key.clone().ok_or("no key")?.0;
                let dimension = step.dimension.ok_or("no dimension")?.0;
                Act::SetLimit(key, dimension, step.quota.ok_or("no quota")?.0)
            }
            Action::Pause => {
                let key = step.key.clone().ok_or("no key")?.0;
                let until = base + step.resume_at.ok_or("no end")?.0;
                Act::Pause(key, step.dimension.map(|dimension| dimension.0), until)
            }
            Action::Observe => Act::Observe(observation(step)?),
            Action::RecordPast => {
                let at = base + step.past.ok_or("no moment")?.0;
                Act::RecordPast(Box::new(step.demand(base)), at)
            }
            // Asks and leaves are done elsewhere; for the others time is all there is.
            _ => return Ok(None),
        };
        self.driver.act(act)?;
        Ok(None)
    }

    fn receipt(&self, step: &Step) -> Result<Receipt, Problem> {
        let call = named(step)?;
        self.calls.get(call).copied().ok_or(Problem::Wrong(format!("{call} was never admitted")))
    }

    fn look(&mut self, step: &Step) -> Result<(), Problem> {
        if !step.expects_a_look() {
            return Ok(());
        }
        let snapshot = self.driver.look()?;
        if let Some(expected) = step.waiting {
            same("waiting", &expected, &snapshot.waiting)?;
        }
        if let Some(expected) = step.in_flight {
            same("in_flight", &expected, &snapshot.in_flight)?;
        }
        for counts in &step.limits {
            let is_meant = |limit: &&paceline_limiter::LimitSnapshot| {
                limit.dimension == counts.dimension.0
                    && counts.quota.is_none_or(|quota| quota.0 == limit.quota)
            };
            let meant: Vec<_> = snapshot.limits.iter().filter(is_meant).collect();
            let [limit] = meant.as_slice() else {
                return wrong(format!("{} limits are meant by {counts:?}", meant.len()));
            };
            let pairs = [
                ("used", counts.used, limit.used),
                ("held", counts.held, limit.held),
                ("free", counts.free, limit.free),
            ];
            for (what, expected, found) in pairs {
                let expected = expected.unwrap_or(found);
                same(&format!("{what} of {}", limit.dimension), &expected, &found)?;
            }
        }
        Ok(())
    }

    /// Waits for everybody who is still to be told something, then ends every call and looks for
    /// what is left.
    fn finish(&mut self) -> Result<(), Problem> {
        let due = self.waiters.values().filter_map(|expected| expected.within);
        if let Some(last) = due.map(|Range(_, to)| to.0).max() {
            let millis = u64::try_from(last.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX);
            let after = Duration::from_millis(millis) + self.driver.lateness();
            self.last = self.last.max(after);
            self.driver.pass(self.last)?;
            let granted = self.take_answers()?;
            if let Some(call) = granted.iter().find(|call| !self.told_when(call)) {
                return wrong(format!("{call} was granted, and no step expects it"));
            }
            self.waiters.retain(|call, _| !granted.iter().any(|other| other == call));
        }
        let untold = self.waiters.iter().find(|(_, expected)| expected.within.is_some());
        if let Some((call, expected)) = untold {
            return wrong(format!("{call} was to be {:?} and still waits", expected.outcome));
        }
        for call in std::mem::take(&mut self.waiters).into_keys() {
            if !self.driver.leave(call)? {
                return wrong(format!("{call} does not wait"));
            }
        }
        let receipts = self.calls.values().chain(&self.nameless).copied();
        for receipt in receipts.collect::<Vec<_>>() {
            self.driver.act(Act::Settle(receipt, Actual::new()))?;
        }
        let Ok(before) = self.driver.look() else { return Ok(()) };
        let windows = before.limits.iter().filter_map(|limit| limit.quota.window());
        let longest = windows.max().unwrap_or_default();
        self.driver.pass(self.last + 2 * longest + A_WHILE)?;
        is_idle(&self.driver.look()?)
    }

    fn in_range(&self, what: &str, range: Range, found: Duration) -> Result<(), Problem> {
        within(what, range, found, self.driver.lateness())
    }
}

/// Longer than any delay bound and any call lasts.
const A_WHILE: Duration = Duration::from_secs(3_600);

fn observation(step: &Step) -> Result<Observation, Problem> {
    let key = step.key.clone().ok_or("no key")?.0;
    let named = step.dimension.map(|dimension| dimension.0);
    let dimension = named.ok_or("no dimension");
    Ok(match step.what.ok_or("nothing learned")? {
        Learned::Stated => Observation::Stated {
            key,
            dimension: dimension?,
            quota: step.quota.ok_or("no quota")?.0,
        },
        Learned::Unlimited => Observation::Unlimited {
            key,
            dimension: dimension?,
            refill: step.quota.ok_or("no quota")?.0.refill(),
        },
        Learned::Remaining => Observation::Remaining {
            key,
            dimension: dimension?,
            remaining: step.remaining.ok_or("no remaining")?,
            limit: step.limit.ok_or("no limit")?,
        },
        Learned::Refused => Observation::Refused {
            key,
            dimension: named,
            actual: step.actual,
            limit: step.limit,
            receipt: None,
        },
    })
}

fn is_idle(idle: &Snapshot) -> Result<(), Problem> {
    same("in flight at the end", &0, &idle.in_flight)?;
    same("waiting at the end", &0, &idle.waiting)?;
    for limit in &idle.limits {
        same(&format!("{} held at the end", limit.dimension), &0, &limit.held)?;
        if limit.quota.refill() != Refill::Never {
            same(&format!("{} used at the end", limit.dimension), &0, &limit.used)?;
        }
    }
    Ok(())
}

fn outcome_of(answer: &Result<Receipt, Refusal>) -> Outcome {
    match answer {
        Ok(_) => Outcome::Admitted,
        Err(Refusal::NotUntil(_)) => Outcome::Waits,
        Err(Refusal::Never { .. }) => Outcome::Never,
        Err(Refusal::Exhausted { .. }) => Outcome::Exhausted,
        Err(Refusal::Deadline { .. }) => Outcome::Deadline,
        Err(Refusal::QueueFull { .. }) => Outcome::QueueFull,
        Err(other) => panic!("no outcome for {other:?}"),
    }
}

fn named(step: &Step) -> Result<&str, Problem> {
    Ok(step.call.as_deref().ok_or("no call is named")?)
}

fn same<T: PartialEq + fmt::Debug>(what: &str, expected: &T, found: &T) -> Result<(), Problem> {
    if expected == found {
        return Ok(());
    }
    wrong(format!("{what}: expected {expected:?}, found {found:?}"))
}

fn within(what: &str, range: Range, found: Duration, late: Duration) -> Result<(), Problem> {
    let Range(from, to) = range;
    if found >= from.0 && found <= to.0 + late {
        return Ok(());
    }
    wrong(format!("{what}: expected {:?} to {:?}, found {found:?}", from.0, to.0))
}

fn wrong<T>(what: impl Into<String>) -> Result<T, Problem> {
    Err(Problem::Wrong(what.into()))
}

fn unable<T>(what: impl Into<String>) -> Result<T, Problem> {
    Err(Problem::Unable(what.into()))
}

impl Problem {
    fn at(self, number: usize, step: &Step) -> Self {
        let call = step.call.as_deref().unwrap_or_default();
        self.told(&format!("step {} ({:?}, {:?} {call})", number + 1, step.at.0, step.action))
    }

    fn told(self, place: &str) -> Self {
        match self {
            Self::Unable(why) => Self::Unable(format!("{place}: {why}")),
            Self::Wrong(why) => Self::Wrong(format!("{place}: {why}")),
        }
    }
}

impl From<Unable> for Problem {
    fn from(Unable(why): Unable) -> Self {
        Self::Unable(why.to_owned())
    }
}

impl From<&str> for Problem {
    fn from(why: &str) -> Self {
        Self::Wrong(why.to_owned())
    }
}
