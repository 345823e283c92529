//! What decides when a call may leave, as the simulation sees it, and our limiter in that role.
//!
//! It moves no time. Invariant: a gate learns of a call only what [`Known`] and the call's
//! estimate say, until it is told more; [`Oracle`](super::rivals::Oracle) is the exception.

use std::num::NonZeroU64;
use std::time::Duration;

use paceline_core::{
    Actual, Amount, Completion, Demand, Dimension, Instant, LimitKey, Observation, Receipt, Refusal,
};
use paceline_limiter::{Limit, Limiter};

use super::workload::{Call, INPUT_ERROR, Known, SECOND, real, whole};

/// Decides when a call may leave.
pub(super) trait Gate {
    /// What an admitted call is known by.
    type Pass: Copy + std::fmt::Debug;

    /// Admits the call, which leaves at once, or says when to ask again; `None`: when a call has
    /// ended. Asked again, `number` is the same for the same call.
    fn ask(
        &mut self,
        number: u64,
        call: &Call,
        now: Instant,
    ) -> Result<Self::Pass, Option<Instant>>;

    /// The answer began, or the call was refused.
    fn head(&mut self, _pass: Self::Pass, _now: Instant) {}

    /// So much of the output has been seen.
    fn progress(&mut self, _pass: Self::Pass, _call: &Call, _written: u64, _now: Instant) {}

    /// The call, which left at `left`, is over.
    fn settle(&mut self, pass: Self::Pass, call: &Call, left: Instant, now: Instant);

    /// The call was refused. Yields how long it waits before it asks again. `chance` is from 0 to
    /// 1, `tries` how often this call has been refused.
    fn refused(
        &mut self,
        pass: Self::Pass,
        call: &Call,
        refusal: &Refused,
        now: Instant,
    ) -> Duration;

    /// The server says that so much is left.
    fn remaining(&mut self, _remaining: u64, _limit: u64, _now: Instant) {}
}

/// What a 429 says, and what is known of the call's fate so far.
#[derive(Clone, Copy, Debug)]
pub(super) struct Refused {
    /// The limit that refused it.
    pub(super) dimension: Dimension,
    /// When the call left.
    pub(super) left: Instant,
    /// How often this call has been refused, this time included.
    pub(super) tries: u32,
    /// From 0 to 1.
    pub(super) chance: f64,
}

/// Our limiter, used as the facade uses it.
#[derive(Debug)]
pub(super) struct Ours {
    limiter: Limiter,
    known: [Known; 3],
    /// The demand of the call that waits, by its number.
    waiting: Option<(u64, Demand)>,
    /// Incidents since the last answer, and when the last one began.
    incidents: u32,
    began: Option<Instant>,
}

impl Ours {
    pub(super) fn new(limits: impl IntoIterator<Item = Limit>, known: [Known; 3]) -> Self {
        let mut limiter = Limiter::new();
        for limit in limits {
            limiter.add(limit).expect("the cases have few limits, and legal ones");
        }
        Self { limiter, known, waiting: None, incidents: 0, began: None }
    }

    fn demand(&self, call: &Call) -> Demand {
        let known = self.known[call.class.index()];
        let input = real(call.estimate);
        let off = input * INPUT_ERROR;
        // The deviation of what is spread evenly.
        let deviation = off / 3_f64.sqrt();
        let most = whole((input / (1.0 - INPUT_ERROR)).ceil());
        let total = Amount::expected(whole(input + known.output))
            .spread(whole(known.spread.hypot(deviation)))
            .upper(most + known.cap);
        let earliest = Duration::from_nanos(known.earliest);
        Demand::call(total)
            .with(
                Dimension::InputTokens,
                Amount::expected(call.estimate).spread(whole(deviation)).upper(most),
            )
            .completes(Completion::between(earliest, Duration::from_nanos(known.latest)))
            .tag(call.class.name())
    }
}

impl Ours {
    /// Pauses as the facade does: 1 s, doubling to 15 s, of which a random half at least. What had
    /// left before the last pause began says nothing new.
    fn pause(&mut self, refusal: &Refused, now: Instant) {
        if self.began.is_some_and(|began| refusal.left < began) {
            return;
        }
        let pause = (SECOND << self.incidents.min(4)).min(15 * SECOND);
        let pause = whole(real(pause) * (0.5 + 0.5 * refusal.chance));
        self.incidents += 1;
        self.began = Some(now);
        let until = now + Duration::from_nanos(pause);
        self.limiter.pause_until(&LimitKey::All, Some(refusal.dimension), until, now);
    }
}

impl Gate for Ours {
    type Pass = Receipt;

    fn ask(&mut self, number: u64, call: &Call, now: Instant) -> Result<Receipt, Option<Instant>> {
        let demand = match self.waiting.take() {
            Some((waiting, demand)) if waiting == number => demand,
            _ => self.demand(call),
        };
        match self.limiter.try_acquire(&demand, now) {
            Ok(receipt) => {
                self.limiter.sent(receipt, now);
                Ok(receipt)
            }
            Err(refusal) => {
                self.waiting = Some((number, demand));
                match refusal {
                    Refusal::NotUntil(blocked) => Err(blocked.until),
                    // No case asks for what never fits; where one did, it would stand still.
                    _ => Err(None),
                }
            }
        }
    }

    fn head(&mut self, pass: Receipt, now: Instant) {
        self.limiter.head_received(pass, now);
    }

    fn progress(&mut self, pass: Receipt, _: &Call, written: u64, now: Instant) {
        self.limiter.progress(pass, written, now);
    }

    fn settle(&mut self, pass: Receipt, call: &Call, left: Instant, now: Instant) {
        if self.began.is_none_or(|began| left >= began) {
            self.incidents = 0;
        }
        self.limiter.settle(pass, &used(call.input, call.output), now);
    }

    fn refused(&mut self, pass: Receipt, _: &Call, refusal: &Refused, now: Instant) -> Duration {
        self.limiter.head_received(pass, now);
        let observation = Observation::Refused {
            key: LimitKey::All,
            dimension: Some(refusal.dimension),
            actual: None,
            limit: None,
            receipt: Some(pass),
        };
        self.limiter.observe(&observation, now);
        self.limiter.settle(pass, &used(0, 0), now);
        self.pause(refusal, now);
        Duration::ZERO
    }

    fn remaining(&mut self, remaining: u64, limit: u64, now: Instant) {
        let (key, dimension) = (LimitKey::All, Dimension::TotalTokens);
        self.limiter.observe(&Observation::Remaining { key, dimension, remaining, limit }, now);
    }
}

fn used(input: u64, output: u64) -> Actual {
    Actual::new()
        .with(Dimension::InputTokens, input)
        .with(Dimension::OutputTokens, output)
        .with(Dimension::TotalTokens, input + output)
}

/// A limit of at least 1.
pub(super) fn not_zero(limit: u64) -> NonZeroU64 {
    NonZeroU64::new(limit).unwrap_or(NonZeroU64::MIN)
}
