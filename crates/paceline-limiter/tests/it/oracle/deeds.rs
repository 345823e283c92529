//! What else is done to a limiter: the queue, changed limits, clocks, pauses, restarts, news.

use paceline_core::{Dimension, Instant, LimitKey, Refusal};
use paceline_limiter::{Limiter, Restored, Served};

use super::books::Kind;
use super::judge::Count;
use super::plan::{How, duration};
use super::world::{Event, Foreign, Verdict, World};

impl World {
    pub(super) fn enqueue(&mut self) -> Verdict {
        if self.waiting.len() >= 8 {
            return Ok(());
        }
        let fate = self.plan.fate(&mut self.random);
        let now = self.operate();
        let before = self.random.one_in(4).then(|| self.limiter.snapshot(now));
        match self.limiter.enqueue(fate.demand.clone(), now) {
            Ok(ticket) if before.is_some() && self.random.one_in(2) => {
                if !self.limiter.leave(ticket) || self.limiter.leave(ticket) {
                    return Err("a ticket leaves once".into());
                }
                self.compare(before.as_ref(), None, now)
            }
            Ok(ticket) => {
                self.waiting.push((ticket, fate));
                Ok(())
            }
            Err(Refusal::NotUntil(blocked)) => Err(format!("told to wait elsewhere: {blocked:?}")),
            Err(_) => {
                self.tally.refusals += 1;
                self.compare(before.as_ref(), None, now)
            }
        }
    }

    /// Admits from the queue what may go; now and then waits for the first of it.
    pub(super) fn serve(&mut self) -> Verdict {
        if self.waiting.is_empty() {
            return Ok(());
        }
        if self.random.one_in(16) {
            self.operation += 1;
            let one = self.random.below(self.waiting.len() as u64);
            let (ticket, _) = self.waiting.remove(usize::try_from(one).expect("an index"));
            if !self.limiter.leave(ticket) {
                return Err(format!("{ticket:?} did not wait"));
            }
            return Ok(());
        }
        while self.poll()? {}
        self.wait_for_head()
    }

    fn poll(&mut self) -> Verdict<bool> {
        let now = self.operate();
        let Some(served) = self.limiter.poll(now) else { return Ok(false) };
        let ticket = match &served {
            Served::Granted(ticket, _) | Served::Refused(ticket, _) => *ticket,
            other => return Err(format!("{other:?}")),
        };
        // First come, first served.
        if self.waiting.first().is_none_or(|(first, _)| *first != ticket) {
            return Err(format!("{ticket:?} is not the first"));
        }
        let (_, fate) = self.waiting.remove(0);
        match served {
            Served::Granted(_, receipt) => self.admit(fate, receipt)?,
            Served::Refused(_, Refusal::Never { .. } | Refusal::Exhausted { .. }) => {
                self.tally.refusals += 1;
            }
            other => return Err(format!("{other:?}")),
        }
        Ok(true)
    }

    /// L1: if nothing else happens until the computed moment, the first is admitted then.
    fn wait_for_head(&mut self) -> Verdict {
        let is_exact = self.watched.iter().all(|watched| watched.pace.is_none());
        let now = self.clock();
        if self.waiting.is_empty() {
            return Ok(());
        }
        let Some(until) = self.limiter.next_wakeup(now) else { return self.check_hopeless() };
        if until.as_nanos() <= self.told {
            return Err(format!(
                "L1: nothing to do at {}, to be asked again at {until}",
                self.told
            ));
        }
        let at = self.true_time(until);
        if !is_exact || at >= self.next_event() || self.random.one_in(4) {
            return Ok(());
        }
        self.truth = self.truth.max(at);
        self.tally.waited += 1;
        if !self.poll()? {
            return Err(format!("L1: the first was promised {until}"));
        }
        Ok(())
    }

    /// Lowers or raises a limit.
    pub(super) fn change_limit(&mut self) -> Verdict {
        let one = self.random.below(self.watched.len() as u64);
        let watched = &mut self.watched[usize::try_from(one).expect("an index")];
        let least = if self.random.one_in(4) { 1 } else { watched.top.div_ceil(2) };
        watched.most = self.random.between(least, watched.top);
        let limit = &watched.limit;
        let quota = limit.quota().with_limit(super::plan::not_zero(watched.most));
        let (key, dimension) = (limit.key().clone(), limit.dimension());
        if !self.plan.habits.is_paced && self.random.one_in(3) {
            return self.replace_limit(usize::try_from(one).expect("an index"), quota);
        }
        let now = self.operate();
        self.tally.changes += 1;
        if !self.limiter.set_limit(&key, dimension, quota, now) {
            return Err(format!("no such limit: {key:?} {dimension:?}"));
        }
        Ok(())
    }

    /// Steps the clock back, or lets it leap.
    pub(super) fn move_clock(&mut self) {
        let habits = self.plan.habits;
        let far = self.random.short(self.plan.gap * 40);
        let far = i64::try_from(far).expect("small");
        if habits.leaps && self.era < 3 && (!habits.steps_back || self.random.one_in(4)) {
            self.offset += far;
            self.era += 1;
            self.again += 1;
            self.tally.leaps += 1;
        } else if habits.steps_back {
            self.offset -= far;
            self.tally.steps_back += 1;
        }
    }

    pub(super) fn pause(&mut self) -> Verdict {
        let key = if self.random.one_in(2) { LimitKey::All } else { LimitKey::Model("m".into()) };
        let dimension = if self.random.one_in(2) { None } else { Some(Dimension::TotalTokens) };
        let now = self.operate();
        let until = self.told + self.random.short(self.plan.gap * 8);
        self.limiter.pause_until(&key, dimension, Instant::from_nanos(until), now);
        self.pauses.push((key, dimension, until));
        Ok(())
    }

    pub(super) fn resume(&mut self) -> Verdict {
        let Some((key, dimension, _)) = self.pauses.pop() else { return Ok(()) };
        self.operation += 1;
        self.limiter.resume(&key, dimension);
        self.pauses.retain(|(other, of, _)| *other != key || *of != dimension);
        Ok(())
    }

    /// A call of another process, told of before or after the server counts it.
    pub(super) fn meet_foreign(&mut self) -> Verdict {
        let mut fate = self.plan.fate(&mut self.random);
        fate.how = How::Known;
        self.operation += 1;
        let at = self.truth + self.random.short(self.plan.gap * 16);
        let told = self.truth + self.random.short(self.plan.gap * 16);
        // What counts at its end is told by that, what counts on arrival by its sending.
        let ends = |kind| matches!(kind, Kind::Completion | Kind::Flow);
        let is_timed = self.watched.iter().any(|watched| ends(watched.books.kind));
        let way = if is_timed { 0 } else { self.random.between(0, self.plan.habits.jitter) };
        let foreign = Foreign { fate, number: self.operation, at, way, told: u64::MAX };
        self.foreign.push(foreign);
        let index = self.foreign.len() - 1;
        self.schedule(at, Event::ForeignCounts(index));
        self.schedule(told, Event::ForeignTold(index));
        Ok(())
    }

    pub(super) fn count_foreign(&mut self, index: usize) -> Verdict {
        let Foreign { fate, number, told, .. } = &self.foreign[index];
        for watched in &mut self.watched {
            // Told as its upper amount.
            let Some((reserved, _)) = watched.asked(fate) else { continue };
            let Some(judge) = &mut watched.judge else { continue };
            let count = Count {
                at: self.truth,
                number: *number,
                limit: None,
                era: self.era,
                amount: 0,
                over: reserved,
                heard: *told,
            };
            judge.count(count, watched.top)?;
        }
        Ok(())
    }

    pub(super) fn hear_foreign(&mut self, index: usize) {
        let now = self.operate();
        let foreign = &mut self.foreign[index];
        foreign.told = self.operation;
        let at = Instant::from_nanos((foreign.at - foreign.way).saturating_add_signed(self.offset));
        self.limiter.record_past(&foreign.fate.demand, at, now);
        for watched in &mut self.watched {
            watched.books.is_complete = false;
            if watched.asked(&foreign.fate).is_none() {
                continue;
            }
            if let Some(judge) = &mut watched.judge {
                judge.heard(foreign.number, self.operation);
            }
        }
    }

    /// The process ends, and another one goes on from what was saved.
    pub(super) fn restart(&mut self) -> Verdict {
        let now = self.operate();
        let saved = self.limiter.save(now);
        self.tally.restarts += 1;
        self.again += 1;
        self.in_flight = 0;
        self.calls.iter_mut().for_each(|call| call.is_dead = true);
        self.waiting.clear();
        self.pauses.clear();
        self.stale.clear();
        let elapsed = self.random.short(self.plan.gap * 20);
        self.is_down = true;
        self.pass(self.truth + elapsed)?;
        self.is_down = false;
        self.offset = i64::try_from(self.random.below(1 << 45)).expect("small");
        self.told = 0;
        let now = self.clock();
        self.limiter = Limiter::new();
        for watched in &mut self.watched {
            let limit = watched.limit.clone();
            let quota = limit.quota().with_limit(super::plan::not_zero(watched.most));
            let (key, dimension) = (limit.key().clone(), limit.dimension());
            self.limiter.add(limit).map_err(|why| why.to_string())?;
            self.limiter.set_limit(&key, dimension, quota, now);
            watched.books.restart();
            watched.flying = 0;
        }
        match self.limiter.restore(&saved, duration(elapsed), now) {
            Restored::Limits { unknown: 0, .. } => Ok(()),
            other => Err(format!("{other:?}")),
        }
    }

    /// A receipt that was settled or cancelled already is nobody's.
    pub(super) fn ask_stale(&mut self) -> Verdict {
        let Some(receipt) = self.stale.pop() else { return Ok(()) };
        self.stale.clear();
        let now = self.operate();
        let before = self.limiter.snapshot(now);
        let actual = paceline_core::Actual::new().with(Dimension::TotalTokens, 0);
        let limiter = &mut self.limiter;
        if limiter.settle(receipt, &actual, now)
            || limiter.cancel_unsent(receipt, now)
            || limiter.sent(receipt, now)
            || limiter.head_received(receipt, now)
        {
            return Err(format!("{receipt:?} was known twice"));
        }
        self.compare(Some(&before), None, now)
    }

    /// Nothing more comes; when all is over and long past, nothing is left.
    pub(super) fn drain(&mut self) -> Verdict {
        for (ticket, _) in std::mem::take(&mut self.waiting) {
            if !self.limiter.leave(ticket) {
                return Err(format!("{ticket:?} did not wait"));
            }
        }
        while self.next_event() < u64::MAX {
            self.pass(self.next_event())?;
        }
        let now = self.operate();
        let seen = self.limiter.snapshot(now);
        self.check_books(&seen)?;
        self.truth += 1 << 50;
        let now = self.operate();
        let seen = self.limiter.snapshot(now);
        self.check_books(&seen)?;
        for (watched, said) in self.watched.iter().zip(&seen.limits) {
            let used = if watched.books.kind == Kind::Spent { said.used } else { 0 };
            if (said.used, said.held) != (used, 0) || seen.in_flight > 0 {
                return Err(format!("S3: not idle in the end: {said:?}"));
            }
        }
        Ok(())
    }
}
