//! What others are thought to count in a window that we share with them.
//!
//! Others are whatever the server counts and we do not: other clients on the same quota, ourselves
//! before a restart, a limit that was lowered without a word. A refusal that our own count does not
//! explain proves how much they had at least. What becomes of that tells them apart: what was there
//! before us leaves within a window, a spike soon, and a level stays until it is tried again.
//!
//! It knows no calls and reads no clock. Shares are of the limit, in parts of [`WHOLE`], so that
//! they outlive a change of it. Invariant: what does not leave by itself is never the whole
//! limit.

/// What is thought of others.
#[derive(Clone, Debug)]
pub(crate) struct Others {
    window: u64,
    now: u64,
    /// When the last refusal that began an incident was heard of.
    began: Option<u64>,
    /// When our count was corrected last.
    corrected: Option<u64>,
    /// How much they take from now on, as refusals tell it; it comes back with time.
    level: u64,
    level_return: Return,
    /// The same when its return was last made slower or faster.
    tried: u64,
    /// How often the return is halved.
    slowness: u32,
    passing: Passing,
    /// What refusals add to what headers tell.
    extra: u64,
    extra_return: Return,
    heard: Option<Heard>,
    lows: Lows,
}

/// What comes back evenly, to the nanosecond.
#[derive(Clone, Copy, Debug, Default)]
struct Return {
    /// What has not come to a whole yet: a step times nanoseconds, below one span unless more has
    /// still to come.
    rest: u128,
}

/// What leaves evenly by itself.
#[derive(Clone, Copy, Debug, Default)]
struct Passing {
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

/// The lowest of our own counts of late, in slots: headers may be as old.
#[derive(Clone, Copy, Debug, Default)]
struct Lows([(u64, u64); LOW_SLOTS]);

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
            corrected: None,
            level: 0,
            level_return: Return::default(),
            tried: 0,
            slowness: 0,
            passing: Passing::default(),
            extra: 0,
            extra_return: Return::default(),
            heard: None,
            lows: Lows::default(),
        }
    }

    /// A call was refused. `false` where that says nothing new: it had left before the incident
    /// began.
    pub(crate) fn refused(&mut self, refusal: Unexplained, now: u64) -> bool {
        self.advance(now);
        if !self.is_news(refusal.sent) {
            return false;
        }
        let last = self.began.replace(self.now);
        self.extra = (self.extra + EXTRA).min(MOST);
        if self.now < refusal.since.saturating_add(self.window) {
            self.before_us(refusal);
        } else if self.fresh().is_none() {
            let within = |windows| {
                last.is_some_and(|last| self.now - last < self.window.saturating_mul(windows))
            };
            let (is_near, is_known) = (within(NEAR), within(KNOWN));
            if self.level == 0 && !is_known {
                self.alone(refusal.share);
            } else {
                self.rise(refusal.share, is_near);
            }
        }
        true
    }

    /// We have not counted for a whole window yet: what is not explained may have been there
    /// before, as after a restart, and leaves within a window of our beginning.
    fn before_us(&mut self, refusal: Unexplained) {
        let share = self.passing.share(self.now).max(refusal.share).saturating_add(BEFORE);
        let until = refusal.since.saturating_add(self.window + self.window / FLIGHT);
        self.passing = Passing { share: share.min(WHOLE + BEFORE), at: self.now, until };
    }

    /// A refusal that none came before: our own calls may have landed together, which Flow risks
    /// once in 10,000. It is believed for a window and a half and no longer.
    fn alone(&mut self, seen: u64) {
        self.pass(seen + FIRST, self.level.saturating_add(self.passing.share(self.now)));
    }

    /// So much leaves within a window and a half, and no less than what was kept free `before`.
    fn pass(&mut self, share: u64, before: u64) {
        let until = self.now.saturating_add(self.window / 2 * 3);
        let share = share.max(before.saturating_sub(self.level)).min(WHOLE);
        self.passing = Passing { share, at: self.now, until };
    }

    fn rise(&mut self, seen: u64, is_near: bool) {
        let before = self.level.saturating_add(self.passing.share(self.now));
        let seen = seen.max(self.level);
        let step = if is_near { NEAR_STEP } else { STEP };
        let level = match self.level {
            0 => seen + FIRST,
            level => (level + step).max(seen.saturating_sub(GUARDED)),
        };
        if !is_near && self.level > 0 {
            self.slowness = (self.slowness + 1).min(SLOWEST);
        }
        self.level = level.min(MOST);
        self.tried = self.level;
        // What they have is seldom as much for long.
        self.pass((seen + SPIKE).saturating_sub(self.level), before);
    }

    /// The server said how much it had counted, so that our count is right again. Whether others
    /// have to be reckoned with all the same, because that helps for a window only and it was so
    /// not long ago.
    pub(crate) fn is_corrected_again(&mut self, sent: u64, now: u64) -> bool {
        self.advance(now);
        let lately = |at| self.now - at < self.window.saturating_mul(LATELY);
        match self.corrected {
            // It left before the last correction: the same incident.
            Some(at) if sent < at => false,
            last => {
                self.corrected = Some(self.now);
                last.is_some_and(lately)
            }
        }
    }

    /// Our own count, as a share, before something is added to it.
    pub(crate) fn counted(&mut self, own: u64, now: u64) {
        self.advance(now);
        self.lows.add(own, self.now);
    }

    /// The server says that so much is used of its window, ours included, which is `own`.
    pub(crate) fn told(&mut self, used: u64, own: u64, now: u64) {
        self.advance(now);
        self.lows.add(own, self.now);
        let share = used.saturating_sub(self.lows.least(self.now)).min(WHOLE);
        let mean = match self.heard {
            None => share,
            Some(Heard { at, mean, .. }) => {
                let passed = u128::from((self.now - at).min(self.window));
                let rest = u128::from(self.window) - passed;
                let sum = u128::from(share) * passed + u128::from(mean) * rest;
                narrow(sum / u128::from(self.window))
            }
        };
        self.heard = Some(Heard { at: self.now, share, mean });
    }

    /// Takes in the time that has passed, in however many steps. Backward time stands still.
    pub(crate) fn advance(&mut self, now: u64) {
        let passed = now.saturating_sub(self.now);
        self.now = self.now.max(now);
        let span = narrow(u128::from(self.window) * RETURN);
        self.extra -= self.extra_return.after(passed, EXTRA, span, self.extra, self.extra);
        let mut passed = passed;
        loop {
            // It comes back twice as fast where two steps of it have found nothing.
            let next = self.tried.saturating_sub(2 * STEP + 1);
            let is_slow = self.slowness > 0 && self.tried > 2 * STEP && self.level > next;
            let most = if is_slow { self.level - next } else { self.level };
            let span = span.saturating_mul(1 << self.slowness);
            self.level -= self.level_return.after(passed, STEP, span, most, self.level);
            if !is_slow || self.level > next {
                return;
            }
            self.slowness -= 1;
            self.tried = self.level;
            passed = 0;
        }
    }

    /// The share to keep free. `varies`: what one call of others may come to, the mean of the
    /// squares over the mean, as a share.
    pub(crate) fn margin(&self, varies: u64) -> u64 {
        let Some(heard) = self.fresh() else {
            return self.level.saturating_add(self.passing.share(self.now));
        };
        let soon = u128::from(heard.share) * u128::from(STALE) / u128::from(self.window);
        // Calls that come by themselves: the variance of what they count.
        let chance = (soon * u128::from(varies)).isqrt();
        heard.share.saturating_add(narrow(soon + chance)).saturating_add(self.extra).min(MOST)
    }

    /// The share of the refill that is left to us.
    pub(crate) fn factor(&self) -> u64 {
        let theirs = match self.fresh() {
            Some(heard) => heard.mean.saturating_add(COURTESY),
            None => self.level,
        };
        WHOLE - theirs.min(MOST)
    }

    /// The share that others are thought to have.
    pub(crate) fn share(&self) -> u64 {
        match self.fresh() {
            Some(heard) => heard.share,
            None => self.level.saturating_add(self.passing.share(self.now)).min(WHOLE),
        }
    }

    /// Whether nothing is left to remember.
    pub(crate) fn is_over(&self) -> bool {
        let is_past = |at: u64| self.now - at >= self.window.saturating_mul(LATELY);
        self.level == 0
            && self.extra == 0
            && self.passing.share(self.now) == 0
            && self.began.is_none_or(is_past)
            && self.corrected.is_none_or(is_past)
            && self.fresh().is_none_or(|heard| heard.mean < EXTRA)
    }

    /// Whether a call that left at `sent` can say anything new.
    fn is_news(&self, sent: u64) -> bool {
        self.began.is_none_or(|began| sent >= began)
    }

    /// What headers told, where they still tell something. That is long: while others have all,
    /// no answers come, and we come back as our own count falls.
    fn fresh(&self) -> Option<Heard> {
        self.heard.filter(|heard| self.now - heard.at < self.window.saturating_mul(2))
    }
}

impl Return {
    /// What of `left` has come back by now, at a step a span, but no more than `most`.
    fn after(&mut self, passed: u64, step: u64, span: u64, most: u64, left: u64) -> u64 {
        self.rest = self.rest.saturating_add(u128::from(step) * u128::from(passed));
        let back = narrow(self.rest / u128::from(span)).min(most);
        self.rest -= u128::from(back) * u128::from(span);
        if back == left {
            self.rest = 0;
        }
        back
    }
}

impl Passing {
    fn share(&self, now: u64) -> u64 {
        let left = self.until.saturating_sub(now);
        let all = self.until.saturating_sub(self.at).max(1);
        narrow(u128::from(self.share) * u128::from(left.min(all)) / u128::from(all))
    }
}

impl Lows {
    fn add(&mut self, share: u64, now: u64) {
        let slot = now / LOW_SLOT;
        let place = &mut self.0[(slot % LOW_SLOTS as u64) as usize];
        *place = if place.0 == slot { (slot, place.1.min(share)) } else { (slot, share) };
    }

    fn least(&self, now: u64) -> u64 {
        let slot = now / LOW_SLOT;
        let is_late = |(at, _): &&(u64, u64)| *at + LOW_SLOTS as u64 > slot;
        self.0.iter().filter(is_late).map(|(_, share)| *share).min().unwrap_or(0)
    }
}

fn narrow(amount: u128) -> u64 {
    u64::try_from(amount).unwrap_or(u64::MAX)
}

/// A whole limit.
pub(crate) const WHOLE: u64 = 1 << 32;

/// The most that others are thought to have: with nothing left we would never learn better.
const MOST: u64 = WHOLE / 100 * 95;

/// What a refusal adds to what it proves of the time before us.
const BEFORE: u64 = WHOLE / 100 * 12;

/// What was in flight before us is counted that part of a window later.
const FLIGHT: u64 = 10;

/// What the first refusal adds to the level that it proves: two deviations of 30 % in 8 calls in
/// flight, so that few more are needed to find it.
const FIRST: u64 = WHOLE / 100 * 12;

/// What later ones add to the level: little where it was tried and came close, more where another
/// refusal is near, so that a cut is found in three steps.
const STEP: u64 = WHOLE / 100 * 2;
const NEAR_STEP: u64 = WHOLE / 100 * 6;

/// Refusals within so many windows are of others that stay.
const KNOWN: u64 = 20;

/// In windows, what is near.
const NEAR: u64 = 2;

/// How much of what is proven our own guard has kept free all the same.
const GUARDED: u64 = WHOLE / 100 * 5;

/// How far above what a refusal proves we stay at first, falling to the level in a window and a
/// half, as independent calls make no peak that lasts longer.
const SPIKE: u64 = WHOLE / 100 * 12;

/// A step comes back in so many windows, at the fastest.
const RETURN: u128 = 4;

/// How often that is halved at most, one refusal after another: less than one in 1,000 calls at 8
/// in flight, and still back from a cut within some hours, as it doubles when it finds nothing.
const SLOWEST: u32 = 3;

/// What an incident adds to what headers tell.
const EXTRA: u64 = WHOLE / 100;

/// What is left to others beyond what they take, so that they are not starved.
const COURTESY: u64 = WHOLE / 100 * 5;

/// Incidents so many windows apart may be of one cause.
const LATELY: u64 = 10;

/// How long others go on unseen: headers as old as a second, and the way to the server.
const STALE: u64 = 1_500_000_000;

/// Our lowest count of 1.2 s at least is what headers may know of us.
const LOW_SLOT: u64 = 200_000_000;
const LOW_SLOTS: usize = 7;

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: u64 = 60_000_000_000;
    const SECOND: u64 = 1_000_000_000;

    /// In whole percent of a limit, rounded.
    fn percent(share: u64) -> u64 {
        (share * 100 + WHOLE / 2) / WHOLE
    }

    fn refusal(share: u64, sent: u64) -> Unexplained {
        Unexplained { share: WHOLE / 100 * share, sent: sent * SECOND, since: 0 }
    }

    /// One that was refused before, not long ago.
    fn known() -> Others {
        Others { began: Some(0), ..Others::new(WINDOW, 0) }
    }

    #[test]
    fn a_refusal_that_none_came_before_is_believed_for_a_window_and_a_half() {
        let mut others = Others::new(WINDOW, 0);
        others.refused(refusal(30, 600), 600 * SECOND);
        assert_eq!((percent(others.margin(0)), others.level, others.factor()), (42, 0, WHOLE));
        others.advance(691 * SECOND);
        assert!(others.margin(0) == 0);
        // Another within 20 windows stays.
        others.refused(refusal(30, 700), 700 * SECOND);
        others.advance(800 * SECOND);
        assert!(percent(others.margin(0)) > 35);
    }

    /// Seconds and proven percent; then what is kept free at once, and two windows later.
    #[track_caller]
    fn check(refusals: &[(u64, u64, u64, u64)]) {
        let mut others = known();
        for (at, share, free, later) in refusals {
            others.refused(refusal(*share, *at), at * SECOND);
            assert_eq!(percent(others.margin(0)), *free, "after {at} s");
            let mut then = others.clone();
            then.advance(at * SECOND + 2 * WINDOW);
            assert_eq!(percent(then.margin(0)), *later, "two windows after {at} s");
        }
    }

    #[test]
    fn what_comes_back_does_not_depend_on_how_often_one_looks() {
        let mut seldom = known();
        for at in [600, 640, 1_200, 1_800] {
            seldom.refused(refusal(30, at), at * SECOND);
        }
        assert!(seldom.slowness > 0);
        let mut often = seldom.clone();
        for step in 0..40_000_u64 {
            let now = 1_800 * SECOND + step * 999_999_937 / 16;
            often.advance(now);
            if step % 5_000 == 4_999 {
                seldom.advance(now);
                assert_eq!(format!("{often:?}"), format!("{seldom:?}"), "after {step} looks");
            }
        }
        assert!(seldom.slowness < 2 && seldom.level > 0, "it came back twice as fast meanwhile");
    }

    #[test]
    fn what_was_there_before_us_leaves_within_a_window() {
        check(&[(1, 90, 102, 0)]);
        check(&[(30, 40, 52, 0)]);
    }

    #[test]
    fn what_comes_later_stays_and_comes_back_slowly() {
        check(&[(600, 30, 42, 41)]);
        check(&[(600, 0, 12, 11), (1_200, 10, 22, 8)]);
    }

    #[test]
    fn refusals_close_to_each_other_find_a_cut_in_few_steps() {
        check(&[(600, 3, 15, 14), (640, 15, 27, 20), (680, 20, 32, 25)]);
    }

    #[test]
    fn what_left_before_an_incident_says_nothing_new() {
        let mut others = Others::new(WINDOW, 0);
        assert!(others.refused(refusal(30, 600), 601 * SECOND));
        let before = others.margin(0);
        assert!(!others.refused(refusal(90, 600), 601 * SECOND));
        assert_eq!(others.margin(0), before);
        assert!(others.refused(refusal(50, 602), 602 * SECOND));
        assert!(others.margin(0) > before);
    }

    #[test]
    fn all_comes_back_and_is_forgotten() {
        let mut others = Others::new(WINDOW, 0);
        for at in [600, 640, 1_200, 1_800, 2_400] {
            others.refused(refusal(20, at), at * SECOND);
        }
        assert!(!others.is_over() && others.factor() < WHOLE);
        for minute in 40..400 {
            others.advance(minute * WINDOW);
        }
        assert!(others.is_over());
        assert_eq!((others.margin(0), others.factor(), others.share()), (0, WHOLE, 0));
    }

    #[test]
    fn headers_tell_what_is_theirs_by_our_lowest_count_of_late() {
        let mut others = known();
        others.refused(refusal(30, 600), 600 * SECOND);
        others.counted(WHOLE / 100 * 40, 601 * SECOND);
        others.told(WHOLE / 100 * 70, WHOLE / 100 * 45, 602 * SECOND);
        assert_eq!(percent(others.share()), 30);
        // As much again in 1.5 s of 60, and one percent for the refusal.
        assert_eq!(percent(others.margin(0)), 32);
        assert_eq!(percent(others.factor()), 65);
        others.told(WHOLE / 100 * 70, WHOLE / 100 * 45, 610 * SECOND);
        assert_eq!(percent(others.share()), 25);
        // Long after, refusals alone count again.
        others.advance(800 * SECOND);
        assert_eq!(percent(others.share()), 40);
    }

    #[test]
    fn a_correction_is_enough_once() {
        let mut others = Others::new(WINDOW, 0);
        assert!(!others.is_corrected_again(5 * SECOND, 6 * SECOND));
        assert!(!others.is_corrected_again(5 * SECOND, 7 * SECOND));
        assert!(others.is_corrected_again(66 * SECOND, 67 * SECOND));
        assert!(!others.is_corrected_again(2_000 * SECOND, 2_001 * SECOND));
    }
}
