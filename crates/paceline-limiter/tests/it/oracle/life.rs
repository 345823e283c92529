//! The life of a call: admitted, sent, counted at the server, over, heard of.

use paceline_core::{Actual, Dimension, Receipt};
use paceline_sim::engine::Ask;

use super::books::{Ended, Kind};
use super::judge::{Allowed, Count};
use super::plan::{Fate, How};
use super::server;
use super::world::{Call, Event, Verdict, Watched, World};

impl World {
    /// A call was admitted just now.
    pub(super) fn admit(&mut self, fate: Fate, receipt: Receipt) -> Verdict {
        self.tally.admissions += 1;
        self.in_flight += 1;
        let (number, now) = (self.operation, self.told);
        let paused = self.pauses.iter().find(|(key, dimension, until)| {
            fate.demand.is_counted_by(key)
                && dimension.is_none_or(|dimension| fate.demand.amount(dimension).is_some())
                && *until > now
        });
        if let Some(pause) = paused {
            return Err(format!("admitted at {now} in spite of a pause: {pause:?}"));
        }
        let mut limits = [0; 3];
        let is_lost = matches!(fate.how, How::Cancelled | How::CancelledLate);
        for (index, watched) in self.watched.iter_mut().enumerate() {
            limits[index] = watched.most;
            let Some((reserved, used)) = watched.asked(&fate) else { continue };
            watched.books.admit(reserved);
            let kept = watched.books.least(now);
            if kept > watched.most {
                let most = watched.most;
                return Err(format!(
                    "S1: {kept} held and counted, {most} in force: {:?}",
                    watched.limit
                ));
            }
            watched.flies(reserved.max(used), &fate);
            if let Some(pacer) = &mut watched.pacer {
                let used = if is_lost { 0 } else { used };
                let ask = Ask::new(used * server::parts(&watched.limit));
                let call = pacer.arrive(ask, self.truth)?;
                pacer.complete(call, self.truth);
            }
        }
        let call = Call {
            receipt,
            number,
            era: self.era,
            limits,
            admitted: now,
            sent: now,
            was_told: false,
            is_dead: false,
            heard: u64::MAX,
            pending: 0,
            judged: [[None; server::MOST]; 3],
            fate,
        };
        let place = self.keep(call);
        let call = &self.calls[place];
        let (how, leaves) = (call.fate.how, self.truth + call.fate.to_send);
        match how {
            How::Cancelled => self.expect(place, leaves, Event::Cancel(place)),
            How::Untold => self.leave(place),
            _ if leaves == self.truth => return self.send(place),
            _ => self.expect(place, leaves, Event::Send(place)),
        }
        Ok(())
    }

    /// What happens now.
    pub(super) fn happen(&mut self, event: Event) -> Verdict {
        let place = match event {
            Event::ForeignCounts(index) => return self.count_foreign(index),
            Event::ForeignTold(_) if self.is_down => {
                // Told later.
                self.schedule(self.truth + self.plan.gap, event);
                return Ok(());
            }
            Event::ForeignTold(index) => {
                self.hear_foreign(index);
                return Ok(());
            }
            Event::Send(place)
            | Event::Arrive(place)
            | Event::Head(place)
            | Event::End(place)
            | Event::Hear(place)
            | Event::Cancel(place) => place,
        };
        let is_alive = !self.calls[place].is_dead;
        match event {
            Event::Send(_) if is_alive => self.send(place)?,
            Event::Head(_) if is_alive => self.head(place)?,
            Event::Hear(_) if is_alive => self.hear(place)?,
            Event::Cancel(_) if is_alive => self.cancel(place)?,
            Event::Arrive(_) => self.arrive(place)?,
            Event::End(_) => self.end(place)?,
            _ => {}
        }
        let call = &mut self.calls[place];
        call.pending -= 1;
        if call.pending == 0 {
            self.free.push(place);
        }
        Ok(())
    }

    fn keep(&mut self, call: Call) -> usize {
        match self.free.pop() {
            Some(place) => {
                self.calls[place] = call;
                place
            }
            None => {
                self.calls.push(call);
                self.calls.len() - 1
            }
        }
    }

    fn expect(&mut self, place: usize, at: u64, event: Event) {
        self.calls[place].pending += 1;
        self.schedule(at, event);
    }

    fn send(&mut self, place: usize) -> Verdict {
        let now = self.operate();
        let call = &mut self.calls[place];
        if !self.limiter.sent(call.receipt, now) {
            return Err(format!("not outstanding when sent: {call:?}"));
        }
        (call.sent, call.was_told) = (self.told, true);
        for watched in &mut self.watched {
            if let Some((reserved, _)) = watched.asked(&call.fate) {
                watched.books.sent(call.number, reserved, self.told);
            }
        }
        self.leave(place);
        Ok(())
    }

    /// It is on its way.
    fn leave(&mut self, place: usize) {
        let Call { fate, .. } = &self.calls[place];
        let (arrives, head) = (self.truth + fate.arrives, self.truth + fate.head);
        let (ends, hears) = (self.truth + fate.ends, self.truth + fate.hears);
        match fate.how {
            How::CancelledLate => self.expect(place, hears, Event::Cancel(place)),
            how => {
                self.expect(place, arrives, Event::Arrive(place));
                if how != How::Unknown && head >= arrives {
                    self.expect(place, head, Event::Head(place));
                }
                self.expect(place, ends, Event::End(place));
                self.expect(place, hears, Event::Hear(place));
            }
        }
    }

    fn head(&mut self, place: usize) -> Verdict {
        let now = self.operate();
        let call = &self.calls[place];
        if !self.limiter.head_received(call.receipt, now) {
            return Err(format!("not outstanding at its head: {call:?}"));
        }
        if call.was_told {
            for watched in &mut self.watched {
                watched.books.head(call.number, self.told);
            }
        }
        Ok(())
    }

    /// The call is over for its caller.
    fn hear(&mut self, place: usize) -> Verdict {
        let now = self.operate();
        let call = &mut self.calls[place];
        self.in_flight -= 1;
        self.tally.settled += 1;
        let is_known = call.fate.how != How::Unknown;
        call.heard = if is_known { self.operation } else { u64::MAX };
        let mut actual = Actual::new();
        if is_known {
            let used = call.fate.used;
            actual = actual.with(Dimension::TotalTokens, used).with(Dimension::Money, used);
        }
        if !self.limiter.settle(call.receipt, &actual, now) {
            return Err(format!("not outstanding when over: {call:?}"));
        }
        for watched in &mut self.watched {
            let Some((reserved, used)) = watched.asked(&call.fate) else { continue };
            let ended = Ended {
                number: call.number,
                reserved,
                used: (is_known && watched.is_named()).then_some(used),
                was_told: call.was_told,
                sent: if call.was_told { call.sent } else { call.admitted },
                latest: call.fate.latest,
            };
            watched.books.settle(ended, self.told);
            if let Some(judge) = watched.judge.as_mut().filter(|_| is_known) {
                judge.heard(call.number, self.operation);
            }
            watched.lands(ended.used.unwrap_or(reserved), call, self.truth, self.again)?;
        }
        self.stale.push(call.receipt);
        Ok(())
    }

    fn cancel(&mut self, place: usize) -> Verdict {
        let now = self.operate();
        let call = &self.calls[place];
        self.in_flight -= 1;
        self.tally.cancelled += 1;
        if !self.limiter.cancel_unsent(call.receipt, now) {
            return Err(format!("not outstanding when cancelled: {call:?}"));
        }
        for watched in &mut self.watched {
            let Some((reserved, used)) = watched.asked(&call.fate) else { continue };
            watched.books.cancel(call.number, reserved, call.was_told);
            watched.flying -= reserved.max(used).min(watched.flying);
        }
        self.stale.push(call.receipt);
        Ok(())
    }

    /// The server sees the call.
    fn arrive(&mut self, place: usize) -> Verdict {
        let call = &mut self.calls[place];
        for (index, watched) in self.watched.iter_mut().enumerate() {
            let Some((reserved, used)) = watched.asked(&call.fate) else { continue };
            let ask = match watched.limit.dimension() {
                Dimension::TotalTokens => {
                    Ask::new(used).input(call.fate.input.min(used)).most(reserved.max(used))
                }
                _ => Ask::new(1),
            };
            for (slot, metered) in watched.meters.iter_mut().enumerate() {
                self.tally.judged += 1;
                match metered.arrive(ask, self.truth) {
                    Ok(judged) => call.judged[index][slot] = Some(judged),
                    Err(why) if metered.is_claimed => return Err(format!("refused by {why}")),
                    Err(_) => self.tally.refused(metered.shape),
                }
                self.tally.asked(metered.shape);
            }
            if watched.books.kind != Kind::Arrival {
                continue;
            }
            let held = watched.limit.rule() == paceline_limiter::ChargeRule::HeldMax;
            let counted = if held { reserved } else { used };
            watched.count(index, call, (counted, reserved), self.truth)?;
        }
        Ok(())
    }

    /// The call is over at the server.
    fn end(&mut self, place: usize) -> Verdict {
        let call = &mut self.calls[place];
        for (index, watched) in self.watched.iter_mut().enumerate() {
            let Some((reserved, used)) = watched.asked(&call.fate) else { continue };
            for (slot, metered) in watched.meters.iter_mut().enumerate() {
                if let Some(judged) = call.judged[index][slot].take() {
                    metered.complete(judged, self.truth);
                }
            }
            match (&mut watched.judge, watched.books.kind) {
                (Some(judge), Kind::Arrival)
                    if watched.limit.rule() == paceline_limiter::ChargeRule::HeldMax =>
                {
                    let (amount, over) = (used.min(reserved), used.saturating_sub(reserved));
                    judge.edit(call.number, amount, over, self.truth)?;
                }
                (Some(_), Kind::Completion) => {
                    watched.count(index, call, (used, reserved), self.truth)?;
                }
                _ => {}
            }
        }
        Ok(())
    }
}

impl Watched {
    /// The server counts so much for a call that reserved so much.
    fn count(
        &mut self,
        index: usize,
        call: &Call,
        (counted, reserved): (u64, u64),
        at: u64,
    ) -> Verdict {
        let Some(judge) = &mut self.judge else { return Ok(()) };
        let count = Count {
            at,
            number: call.number,
            limit: Some(call.limits[index]),
            era: call.era,
            amount: counted.min(reserved),
            over: counted.saturating_sub(reserved),
            heard: call.heard,
        };
        judge.count(count, self.top).map_err(|why| format!("{why}: {:?}", self.limit))
    }

    /// For Flow: a call is in flight.
    fn flies(&mut self, most: u64, fate: &Fate) {
        self.flying += most;
        self.most_flying = self.most_flying.max(self.flying);
        self.largest = self.largest.max(most);
        let longest = fate.to_send + fate.ends.max(fate.hears).max(fate.latest);
        self.longest = self.longest.max(longest);
    }

    /// For Flow: a call in flight settles.
    fn lands(&mut self, amount: u64, call: &Call, now: u64, again: u64) -> Verdict {
        let (upper, used) = self.asked(&call.fate).unwrap_or_default();
        self.flying -= upper.max(used).min(self.flying);
        let Some(pace) = &mut self.pace else { return Ok(()) };
        let allowed = Allowed {
            limit: self.top,
            call: self.largest,
            in_flight: self.most_flying,
            longest: self.longest,
            again,
        };
        pace.settle(amount, now, allowed).map_err(|why| format!("{why}: {:?}", self.limit))
    }
}
