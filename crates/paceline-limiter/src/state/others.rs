//! What others are thought to count in a window that we share with them.
//!
//! Others are whatever the server counts and we do not: other clients on the same quota, ourselves
//! before a restart, a limit that was lowered without a word. What is seen of them is one number,
//! so one rule serves all: a refusal that our own count does not explain proves how much they had
//! at least; that much and a step more stays free, and comes back with time.
//!
//! It knows no calls and reads no clock. Shares are of the limit, in parts of [`WHOLE`], so that
//! they outlive a change of it. Invariants: nothing is thought of others before the first
//! unexplained refusal; what is told is never more than the limit.

/// What is thought of others.
#[derive(Clone, Debug)]
pub(crate) struct Others {
    window: u64,
    now: u64,
    /// When the last refusal that began an incident was heard of.
    began: Option<u64>,
    /// How much they take from now on, as refusals tell it.
    level: u64,
    /// The same at the last incident.
    refused_at: u64,
    /// How often the return was halved.
    slowness: u32,
    past: Past,
    /// What refusals add to what headers tell.
    extra: u64,
    heard: Option<Heard>,
    lows: Lows,
}

/// What was counted before we counted: it leaves evenly.
#[derive(Clone, Copy, Debug, Default)]
struct Past {
    share: u64,
    at: u64,
    until: u64,
}

/// What headers told last.
#[derive(Clone, Copy, Debug)]
struct Heard {
    at: u64,
    share: u64,
    /// Over the last window or so.
    mean: u64,
}

/// The lowest of our own counts of late, as headers may be as old.
#[derive(Clone, Copy, Debug, Default)]
struct Lows {
    slots: [(u64, u64); 8],
}

/// A refusal that our own count does not explain.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Unexplained {
    /// The share that others had at least.
    pub(crate) share: u64,
    /// When the refused call left.
    pub(crate) sent: u64,
    /// When our own count began.
    pub(crate) since: u64,
}

impl Others {
    pub(crate) fn new(window: u64, now: u64) -> Self {
        Self {
            window: window.max(1),
            now,
            began: None,
            level: 0,
            refused_at: 0,
            slowness: 0,
            past: Past::default(),
            extra: 0,
            heard: None,
            lows: Lows::default(),
        }
    }

    /// Whether a call that left at `sent` tells anything new.
    pub(crate) fn is_news(&self, sent: u64) -> bool {
        self.began.is_none_or(|began| sent >= began)
    }

    /// A call was refused. `false` where it belongs to an incident that is known.
    pub(crate) fn refused(&mut self, refusal: Unexplained, now: u64) -> bool {
        self.advance(now);
        if !self.is_news(refusal.sent) {
            return false;
        }
        let last = self.began.replace(self.now);
        self.extra = (self.extra + EXTRA).min(MOST);
        let until = refusal.since.saturating_add(self.window + self.window / PAST_LONGER);
        if self.now < refusal.since.saturating_add(self.window) {
            let share = self.past.share(self.now).max(refusal.share).saturating_add(STEP).min(WHOLE);
            self.past = Past { share, at: self.now, until };
            return true;
        }
        let share = refusal.share.saturating_sub(self.past.share(self.now));
        let is_again = last.is_some_and(|last| self.now - last < self.window);
        if !is_again && self.level > 0 {
            self.slowness = (self.slowness + 1).min(SLOWEST);
        }
        self.refused_at = self.level.max(share);
        self.level = self.refused_at.saturating_add(STEP).min(MOST);
        true
    }

    /// Our own count, as a share.
    pub(crate) fn counted(&mut self, share: u64, now: u64) {
        self.lows.add(share, now);
    }

    /// The server says that so much is used of its window, ours included.
    pub(crate) fn told(&mut self, used: u64, own: u64, now: u64) {
        self.advance(now);
        self.lows.add(own, self.now);
        let share = used.saturating_sub(self.lows.least(self.now)).min(WHOLE);
        let mean = match self.heard {
            None => share,
            Some(Heard { at, mean, .. }) => {
                let passed = (self.now - at).min(self.window);
                let change = i128::from(share) - i128::from(mean);
                let change = change * i128::from(passed) / i128::from(self.window);
                u64::try_from(i128::from(mean) + change).unwrap_or(0)
            }
        };
        self.heard = Some(Heard { at: self.now, share, mean });
    }

    /// Takes in the time that has passed.
    pub(crate) fn advance(&mut self, now: u64) {
        let passed = now.saturating_sub(self.now);
        self.now = self.now.max(now);
        let back = |step: u64, slowness: u32| {
            let back = u128::from(step) * u128::from(passed)
                / (u128::from(self.window) * RETURN << slowness);
            u64::try_from(back).unwrap_or(u64::MAX)
        };
        let (level, extra) = (back(STEP, self.slowness), back(EXTRA, self.slowness));
        self.level = self.level.saturating_sub(level);
        self.extra = self.extra.saturating_sub(extra);
        if self.slowness > 0 && self.level + 2 * STEP < self.refused_at {
            self.slowness -= 1;
            self.refused_at = self.level;
        }
    }

    /// The share to keep free. `varies`: what the others' calls come to, the mean of their squares
    /// over their mean, as a share.
    pub(crate) fn margin(&self, varies: u64) -> u64 {
        let Some(heard) = self.fresh() else {
            return self.level.saturating_add(self.past.share(self.now)).min(MOST);
        };
        let soon = u128::from(heard.share) * u128::from(STALE) / u128::from(self.window);
        let chance = (9 * soon * u128::from(varies)).isqrt();
        let ahead = u64::try_from(soon + chance).unwrap_or(u64::MAX);
        heard.share.saturating_add(ahead).saturating_add(self.extra).min(MOST)
    }

    /// The share of the refill that is left to us.
    pub(crate) fn factor(&self) -> u64 {
        match self.fresh() {
            Some(heard) => WHOLE - heard.mean.saturating_add(COURTESY).min(MOST),
            None => WHOLE - self.level.min(MOST),
        }
    }

    fn fresh(&self) -> Option<Heard> {
        self.heard.filter(|heard| self.now - heard.at < self.window / 6)
    }
}

impl Past {
    fn share(&self, now: u64) -> u64 {
        let left = u128::from(self.until.saturating_sub(now));
        let all = u128::from(self.until.saturating_sub(self.at).max(1));
        let share = u128::from(self.share) * left.min(all) / all;
        u64::try_from(share).unwrap_or(u64::MAX)
    }
}

impl Lows {
    fn add(&mut self, share: u64, now: u64) {
        let slot = now / LOW_SLOT;
        let place = &mut self.slots[usize::try_from(slot % 8).unwrap_or(0)];
        *place = if place.0 == slot { (slot, place.1.min(share)) } else { (slot, share) };
    }

    fn least(&self, now: u64) -> u64 {
        let slot = now / LOW_SLOT;
        let is_late = |(at, _): &&(u64, u64)| *at + 8 > slot;
        self.slots.iter().filter(is_late).map(|(_, share)| *share).min().unwrap_or(0)
    }
}

/// A whole limit.
pub(crate) const WHOLE: u64 = 1 << 32;

/// The most that others are thought to have.
const MOST: u64 = WHOLE / 100 * 95;

/// What an incident adds to what it proves.
const STEP: u64 = WHOLE / 100 * 8;

/// What an incident adds to what headers tell.
const EXTRA: u64 = WHOLE / 100;

/// What is left to others beyond what they take.
const COURTESY: u64 = WHOLE / 100 * 5;

/// A step comes back in so many windows.
const RETURN: u128 = 4;

/// The slowest return: so often halved.
const SLOWEST: u32 = 8;

/// What was in flight before we counted is counted that part of a window later.
const PAST_LONGER: u64 = 20;

/// How old headers may be, and the way to the server.
const STALE: u64 = 1_500_000_000;

/// A slot of the lowest counts: eight are 1.6 s.
const LOW_SLOT: u64 = 200_000_000;
