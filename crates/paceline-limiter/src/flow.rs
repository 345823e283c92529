//! The rule *Flow*: a window charged on completion, run full, and hardly ever refused.
//!
//! For servers that look only at what has already been counted, so that what is in flight always
//! lands. It takes the long run from a credit that refills at the limit a window, and from the
//! moment a guard on what may land before the next request is judged. It reads no clock, makes no
//! calls, and is wrong on servers that count when a call arrives.
//!
//! Invariants: what settles in any time T is at most L T/W + 2 L + one call + what was
//! under-estimated in flight; a refused verdict changes nothing but what time changes. State is in
//! integers; waits are rounded up, grants down, what may land up.
//!
//! A call may leave where the credit and its pace allow it, where what counts, five sixths of the
//! largest call that could land now, what is expected to land before the next request is judged and
//! two deviations of that leave room for its input, and where at each quarter of the window to come
//! what will still count, what is expected to have landed and two deviations of that stay below what
//! windows of independent calls come to.
//!
//! | module | holds |
//! |---|---|
//! | `credit` | the long-run credit and the bound on its pace, exact |
//! | `settled` | what has been settled in the last window, in slots |
//! | `class`, `classes` | calls that are alike: what they came to, which are in flight |
//! | `curve` | outputs by age or by progress, as sums |
//! | `cohorts`, `streams` | calls in flight, by age and by progress |
//! | `forecast` | what they may land, and when |
//! | `flights` | each call in flight |
//! | `saved` | what a restart needs |
//! | `shown` | what it shows of itself |

use std::time::Duration;

use paceline_core::{Amount, Completion, Instant, Tag};

mod class;
mod classes;
mod cohorts;
mod credit;
mod curve;
mod flights;
mod forecast;
mod saved;
mod settled;
mod shown;
mod streams;
#[cfg(test)]
mod tests;

use class::{Class, MOST_OUTPUT, Soon};
use credit::{Credit, Peak, Rates};
use flights::{Call, Flights, Seen};
use forecast::{Forecast, Sight};
use settled::{Grid, Settled};
use streams::Pace;

pub(crate) use flights::Flight;
pub use saved::{SavedClass, SavedFlow};

/// What a call asks of the limit.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ask<'a> {
    /// Of the dimension that is limited.
    pub(crate) amount: Amount,
    /// What the server can look at when the call arrives.
    pub(crate) input: Amount,
    pub(crate) completes: Option<Completion>,
    /// Calls that are alike.
    pub(crate) class: Option<&'a Tag>,
}

/// How often and how high the count passed the limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Passed {
    /// How often it rose above the limit.
    pub(crate) times: u64,
    /// The highest count.
    pub(crate) highest: u128,
}

/// One limit that is kept by Flow.
#[derive(Clone, Debug)]
pub(crate) struct Flow {
    limit: u64,
    grid: Grid,
    /// The longest way to or from the server, in nanoseconds.
    delay: u64,
    /// Amounts are scaled down by 2^this for what is estimated.
    scale: u32,
    /// The latest moment heard of.
    now: u64,
    tick: u64,
    /// Slots looked at, for what is not looked at in each.
    turns: u8,
    sight: Sight,
    settled: Settled,
    credit: Credit,
    peak: Peak,
    classes: Vec<Class>,
    flights: Flights,
    forecast: Forecast,
    /// Calls of late and their squares, scaled, for how much chance makes a window vary.
    sizes: (u64, u64),
    /// The most that may be expected in a window to come.
    crest: u64,
    /// What others are thought to count, added to what is counted.
    margin: u64,
    passed: Passed,
    is_above: bool,
    /// Classes of before a restart of which no call has come yet.
    restored: Vec<SavedClass>,
    /// Then the credit does not begin with the first call.
    is_restored: bool,
    /// The credit before the first call, less than what it began with; in its own fine units.
    lent: i128,
}

impl Flow {
    /// A limit of so much in a window, with a bound on the one-way delay.
    pub(crate) fn new(limit: u64, window: Duration, delay: Duration) -> Self {
        let grid = Grid::new(nanos(window));
        let rates = Rates { limit, window: grid.window() };
        let sight = Sight { now: 0, shift: grid.shift(), reach: [0; 5] };
        let mut flow = Self {
            limit,
            grid,
            delay: nanos(delay),
            scale: scale_of(limit),
            now: 0,
            tick: grid.tick(0),
            turns: 0,
            sight,
            settled: Settled::new(grid, 0),
            credit: Credit::new(rates, limit, 0),
            peak: Peak::new(rates, 0),
            classes: Vec::new(),
            flights: Flights::default(),
            forecast: Forecast::default(),
            sizes: (0, 0),
            crest: limit,
            margin: 0,
            passed: Passed::default(),
            is_above: false,
            restored: Vec::new(),
            is_restored: false,
            lent: 0,
        };
        flow.look();
        flow
    }

    /// Whether a call may leave now. Where not: when to ask again, later than now, unless something
    /// settles before; `None` where only that helps.
    ///
    /// # Errors
    /// It may not.
    #[inline]
    pub(crate) fn verdict(&mut self, ask: &Ask<'_>, now: Instant) -> Result<(), Option<Instant>> {
        let now = self.advance(now);
        match self.known(ask) {
            Some(class) => self.verdict_of(class, ask, now),
            None => self.first_verdict(ask, now),
        }
    }

    /// The verdict on the first of its kind, of which nothing is kept unless it leaves.
    #[cold]
    fn first_verdict(&self, ask: &Ask<'_>, now: u64) -> Result<(), Option<Instant>> {
        let mut other = self.clone();
        let class = other.class(ask);
        other.verdict_of(class, ask, now)
    }

    #[inline]
    fn verdict_of(&mut self, class: usize, ask: &Ask<'_>, now: u64) -> Result<(), Option<Instant>> {
        let burst =
            (self.limit / 200).max(self.classes[class].corrected(output(ask).expected_amount()));
        let paced = match (self.credit.opens_at(), self.peak.opens_at(burst)) {
            (None, None) => None,
            (credit, peak) => credit.max(peak),
        };
        let room = self.room(class, ask);
        match (paced, room) {
            (None, Ok(())) => Ok(()),
            (Some(at), Ok(())) => Err(Some(Instant::from_nanos(at.max(now + 1)))),
            (_, Err(None)) => Err(None),
            (at, Err(Some(other))) => {
                Err(Some(Instant::from_nanos(at.unwrap_or(0).max(other).max(now + 1))))
            }
        }
    }

    /// A call leaves. The verdict comes first; without one, or against it, the call becomes debt.
    pub(crate) fn admit(&mut self, ask: &Ask<'_>, now: Instant) -> Flight {
        let now = self.advance(now);
        let classes = self.classes.len();
        let index = self.class(ask);
        let is_new = self.classes.len() > classes;
        let input = self.scaled(ask.input.expected_amount()).min(MOST_OUTPUT);
        let class = &mut self.classes[index];
        let said = output(ask).expected_amount();
        let expected = ask.input.expected_amount().saturating_add(class.corrected(said));
        class.enter(now, None, input, self.grid.shift());
        self.forecast.enter(class, input);
        self.credit.take(expected);
        self.peak.take(expected);
        let flight = self.flights.add(Call {
            sent: now,
            class: index,
            input,
            seen: Seen::Nothing,
            charged: expected,
            output: said,
            ask: ask.input.expected_amount(),
            upper: ask.amount.upper_amount(),
            latest: ask.completes.map_or(self.grid.window(), |by| nanos(by.latest())),
        });
        if is_new {
            self.classes[index].first = Some(flight);
        }
        flight
    }

    /// A call left its queue only now.
    pub(crate) fn sent(&mut self, flight: Flight, now: Instant) {
        let now = self.advance(now);
        let Some(call) = self.flights.get_mut(flight) else { return };
        if call.sent == now || call.seen.pace().is_some() {
            return;
        }
        let class = &mut self.classes[call.class];
        class.leave(call.sent, None, call.input);
        call.sent = now;
        class.enter(now, None, call.input, self.grid.shift());
    }

    /// So much of a call's output has been seen by now.
    pub(crate) fn progress(&mut self, flight: Flight, output_so_far: u64, now: Instant) {
        let now = self.advance(now);
        let shift = self.grid.shift();
        let output = self.scaled(output_so_far);
        let Some(call) = self.flights.get_mut(flight) else { return };
        let class = &mut self.classes[call.class];
        let key = class.output_key(output);
        let since = now.saturating_sub(call.seen.at());
        let speed = |keys: u64| {
            let speed = (u128::from(keys) << shift) / u128::from(since.max(1));
            u64::try_from(speed).unwrap_or(u64::MAX).clamp(1, FASTEST)
        };
        let old = call.seen;
        call.seen = match old {
            Seen::Nothing if output > 0 => Seen::First { position: key, at: now },
            Seen::First { position, at } if now >= at + 2 * self.grid.slot() && key > position => {
                let speed = speed(key - position);
                // When it would have begun at that speed.
                let run = (u128::from(position) << shift) / u128::from(speed);
                let run = u64::try_from(run).unwrap_or(u64::MAX);
                let silence = class.silent(at.saturating_sub(run).saturating_sub(call.sent));
                let hidden = (u128::from(speed) * u128::from(silence)) >> shift;
                let hidden = u64::try_from(hidden).unwrap_or(u64::MAX).min(curve::KEYS);
                let pace = Pace { position: key + hidden, seen: now, speed };
                Seen::Stream { pace, hidden }
            }
            Seen::Stream { pace, hidden } if now >= pace.seen + 2 * self.grid.slot() => {
                let position = (key + hidden).max(pace.position);
                let speed = (3 * pace.speed + speed(position - pace.position)) / 4;
                Seen::Stream { pace: Pace { position, seen: now, speed }, hidden }
            }
            _ => return,
        };
        let Some(pace) = call.seen.pace() else { return };
        class.stream(shift, &self.sight.reach);
        class.leave(call.sent, old.pace(), call.input);
        class.enter(call.sent, Some(pace), call.input, shift);
    }

    /// A call is over, and nobody knows what it used: the upper amount counts, from now until a
    /// window after the latest moment at which it can land.
    pub(crate) fn lose(&mut self, flight: Flight, lands: Instant, now: Instant) {
        let now = self.advance(now);
        let Some(call) = self.remove(flight) else { return };
        self.credit.give(call.charged);
        self.credit.take(call.upper);
        self.count(call.upper, lands.as_nanos().max(now));
    }

    /// A call is over.
    pub(crate) fn settle(&mut self, flight: Flight, actual: u64, now: Instant) {
        let now = self.advance(now);
        let Some(call) = self.remove(flight) else { return };
        self.credit.give(call.charged);
        self.credit.take(actual);
        self.count(actual, now);
        let output = self.scaled(actual.saturating_sub(call.ask));
        let age = self.sight.key(now.saturating_sub(call.sent));
        let expected = self.scaled(call.output);
        self.classes[call.class].learn(age, output, expected);
        self.learn_size(self.scaled(actual));
    }

    /// A call never left. Done at once, nothing is left of it; the first of its kind leaves no kind
    /// behind. Returns when it was to leave.
    pub(crate) fn cancel(&mut self, flight: Flight, now: Instant) -> Option<Instant> {
        self.advance(now);
        let call = self.flights.remove(flight)?;
        let class = &mut self.classes[call.class];
        let sight = Sight { now: self.now, ..self.sight };
        self.forecast.leave(class, &sight, call.sent, call.seen.pace(), call.input);
        class.take_back(call.sent, call.seen.pace(), call.input);
        self.credit.give(call.charged);
        self.peak.give(call.charged);
        // Only the last one can go: calls know their classes by number.
        if call.class + 1 == self.classes.len() && self.classes[call.class].is_only_for(flight) {
            self.forget_class();
        }
        Some(Instant::from_nanos(call.sent))
    }

    /// A call was refused: it lands nothing.
    pub(crate) fn refused(&mut self, flight: Flight, now: Instant) {
        self.advance(now);
        let Some(call) = self.remove(flight) else { return };
        self.credit.give(call.charged);
        self.peak.give(call.charged);
    }

    /// Something was counted at an earlier moment that no call here stands for.
    pub(crate) fn record_past(&mut self, amount: u64, at: Instant, now: Instant) {
        self.advance(now);
        self.credit.take(amount);
        self.count(amount, at.as_nanos());
    }

    /// Whether estimates are far too coarse or too narrow for a limit: then it begins anew.
    pub(crate) fn is_off(&self, limit: u64) -> bool {
        let scale = scale_of(limit);
        scale > self.scale || self.scale > scale + COARSER
    }

    /// What another Flow of the same window goes on with: the credit in units, debt below zero.
    pub(crate) fn level(&mut self, now: Instant) -> i128 {
        self.advance(now);
        self.credit.level()
    }

    /// Goes on with the credit of so long ago, where that is less than what it has.
    pub(crate) fn go_on_with(&mut self, credit: i128, ago: u64, now: Instant) {
        // What it began with was not there all the time before.
        self.advance(now);
        let own = self.credit.level();
        self.credit.set_level(credit);
        self.credit.refill(ago);
        self.credit.set_level(self.credit.level().min(own));
        self.is_restored = true;
    }

    /// Another limit. Nothing is minted.
    pub(crate) fn set_limit(&mut self, limit: u64, now: Instant) {
        self.advance(now);
        self.limit = limit;
        self.credit.set_limit(limit);
        self.peak.set_limit(limit);
        self.look();
    }

    /// Another bound on the one-way delay.
    pub(crate) fn set_delay(&mut self, delay: Duration, now: Instant) {
        self.advance(now);
        self.delay = nanos(delay);
        self.look();
    }

    /// What others are thought to count beside us, in units: it is added to the count.
    pub(crate) fn set_margin(&mut self, margin: u64) {
        self.margin = margin;
    }

    /// Which part of the limit the credit refills at, of [`Flow::WHOLE`].
    pub(crate) fn set_factor(&mut self, factor: u32, now: Instant) {
        self.advance(now);
        self.credit.set_factor(factor);
    }

    /// What counts now.
    pub(crate) fn counted(&mut self, now: Instant) -> u128 {
        self.advance(now);
        u128::from(self.settled.counted())
    }

    /// Calls in flight.
    #[cfg(test)]
    pub(crate) fn in_flight(&self) -> usize {
        self.flights.len()
    }

    /// How often and how high the count passed the limit.
    pub(crate) const fn passed(&self) -> Passed {
        self.passed
    }

    /// The whole refill of [`Flow::set_factor`].
    pub(crate) const WHOLE: u32 = Credit::WHOLE;

    /// How much chance makes what is counted vary: the mean of the squares of calls over their mean.
    pub(crate) const fn varies(&self) -> u64 {
        let mean = if self.sizes.0 == 0 { 1 } else { self.sizes.0 };
        self.raw(self.sizes.1 / mean)
    }

    /// Takes in the time that has passed. Backward time stands still.
    #[inline]
    fn advance(&mut self, now: Instant) -> u64 {
        let now = now.as_nanos().max(self.now);
        if now > self.now {
            self.now = now;
            self.credit.advance(now);
            self.peak.advance(now);
            let tick = self.grid.tick(now);
            if tick > self.tick {
                self.turn(tick);
            }
        }
        now
    }

    /// A slot leaves.
    fn turn(&mut self, tick: u64) {
        let passed = tick - self.tick;
        self.tick = tick;
        self.settled.advance(tick);
        self.is_above &= self.settled.counted() > self.limit;
        if passed >= 8 {
            self.look();
            return;
        }
        self.sight.now = self.now;
        // What is far changes slowly, and what calls come to still more so: by turns, of which each
        // counts for two where slots were skipped.
        for class in &mut self.classes {
            class.make_room(self.now);
        }
        self.turns =
            if passed > 1 { self.turns.wrapping_add(2) | 1 } else { self.turns.wrapping_add(1) };
        let turn = usize::from(self.turns % 8);
        let quarter = (turn % 2 == 1).then_some(turn / 2 + 1);
        if quarter.is_none() || passed > 1 {
            let soon = if turn < 2 { Soon::Yes } else { Soon::No };
            for class in &mut self.classes {
                class.refresh(&self.sight.reach, soon);
            }
            self.crest = self.crest();
        }
        self.forecast.sweep(&self.classes, &self.sight, quarter);
    }

    /// Looks at everything again.
    fn look(&mut self) {
        // A verdict may be a slot older than the sweep.
        let soon = self.delay.saturating_mul(2).saturating_add(self.grid.slot());
        let window = self.grid.window();
        let reach = [soon, window / 4, window / 2, window / 4 * 3, window];
        self.sight.now = self.now;
        self.sight.reach = reach.map(|ahead| self.sight.key(ahead));
        for class in &mut self.classes {
            class.refresh(&self.sight.reach, Soon::Yes);
            class.reach(&self.sight.reach);
        }
        for quarter in 1..=4 {
            self.forecast.sweep(&self.classes, &self.sight, Some(quarter));
        }
        self.crest = self.crest();
    }

    /// Whether what counts and what may land leaves room; where not, when there may be some.
    #[inline]
    fn room(&self, class: usize, ask: &Ask<'_>) -> Result<(), Option<u64>> {
        let most = ask.input.upper_amount();
        let counted = self.settled.counted().saturating_add(self.margin);
        let inputs = self.raw(self.flights.inputs()).min(self.limit / 50);
        let guard = self.raw(self.forecast.guard()).max(inputs);
        let sum = counted.saturating_add(most);
        if sum.saturating_add(guard) > self.limit {
            return Err(self.room_at(most, sum));
        }
        let input = self.scaled(ask.input.expected_amount());
        let [_, fresh @ ..] = self.classes[class].fresh();
        for quarter in 1..=4 {
            let lands = self.forecast.by_quarter(quarter) + fresh[quarter - 1].amount(input);
            if self.settled.counted_after(quarter).saturating_add(self.raw(lands)) > self.crest {
                return Err(Some(self.grid.begins(self.tick + 1)));
            }
        }
        Ok(())
    }

    /// What counts alone may leave no room: then it says when it has left, otherwise any slot or
    /// settlement may help.
    fn room_at(&self, most: u64, sum: u64) -> Option<u64> {
        if most > self.limit {
            return None;
        }
        let next = self.grid.begins(self.tick + 1);
        let excess = sum.saturating_sub(self.margin).saturating_sub(self.limit);
        Some(if excess == 0 {
            next
        } else {
            self.settled.freed_at(excess).unwrap_or(next).max(next)
        })
    }

    fn remove(&mut self, flight: Flight) -> Option<Call> {
        let call = self.flights.remove(flight)?;
        let class = &mut self.classes[call.class];
        class.first.take_if(|first| *first == flight);
        let sight = Sight { now: self.now, ..self.sight };
        self.forecast.leave(class, &sight, call.sent, call.seen.pace(), call.input);
        class.leave(call.sent, call.seen.pace(), call.input);
        Some(call)
    }

    fn count(&mut self, amount: u64, at: u64) {
        self.settled.add(at, amount);
        let counted = self.settled.counted();
        self.passed.highest = self.passed.highest.max(u128::from(counted));
        if counted > self.limit && !self.is_above {
            self.is_above = true;
            self.passed.times += 1;
        }
    }

    fn learn_size(&mut self, size: u64) {
        let size = size.min(MOST_OUTPUT);
        self.sizes.0 += size;
        self.sizes.1 += size * size;
        if self.sizes.0 > MOST_OUTPUT << 8 || self.sizes.1 > 1 << 59 {
            self.sizes = (self.sizes.0 / 2, self.sizes.1 / 2);
        }
    }

    /// What a window to come may come to: the limit, 1.8 times the deviation of a window of
    /// independent calls at full use, and 4/3 of its square over the limit, because sums of few calls
    /// are skew.
    fn crest(&self) -> u64 {
        let mean_square = self.sizes.1 / self.sizes.0.max(1);
        let variance = mean_square.saturating_mul(self.limit >> self.scale);
        let chance = variance.isqrt().saturating_mul(9) / 5;
        self.limit.saturating_add(self.raw(chance + mean_square / 3 * 4))
    }

    #[inline]
    fn scaled(&self, amount: u64) -> u64 {
        (amount >> self.scale) + u64::from(self.scale > 0)
    }

    #[inline]
    const fn raw(&self, scaled: u64) -> u64 {
        scaled.saturating_mul(1 << self.scale)
    }
}

/// What a call puts out beyond its input.
fn output(ask: &Ask<'_>) -> Amount {
    let (all, input) = (ask.amount, ask.input);
    Amount::expected(all.expected_amount().saturating_sub(input.expected_amount()))
        .spread(all.spread_amount())
        .upper(all.upper_amount().saturating_sub(input.upper_amount()))
}

/// What is estimated has 24 bits for a limit, so that sums of squares fit.
fn scale_of(limit: u64) -> u32 {
    (64 - limit.leading_zeros()).saturating_sub(24)
}

/// A duration in whole nanoseconds, saturating.
fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// How many bits too coarse estimates may be after a limit has fallen.
const COARSER: u32 = 4;

/// Keys of outputs a slot; faster is taken as this.
const FASTEST: u64 = 1 << 20;
