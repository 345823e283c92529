//! The client's own books of one limit: reserved, settled, released, outstanding, and what has to
//! be counted by the charge rules.
//!
//! Kept call by call, in the limiter's time; what is counted is added up from scratch.

use std::collections::VecDeque;

use paceline_limiter::LimitSnapshot;

/// How a limit counts what is not held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// From its arrival, or from its end, for a window.
    Arrival,
    Completion,
    /// By the rule Flow: only what is held and settled is known.
    Flow,
    /// For ever, or only while it is held.
    Spent,
    InFlight,
    /// A plain bucket keeps no window.
    Bucket,
}

/// One limit's books.
#[derive(Debug)]
pub(crate) struct Books {
    pub(crate) kind: Kind,
    window: u64,
    delay: u64,
    /// By how much a slot may let go late.
    slack: u64,
    pub(crate) reserved: u128,
    pub(crate) settled: u128,
    pub(crate) released: u128,
    /// Written off by a restart: counted as used.
    pub(crate) lost: u128,
    outstanding: u64,
    /// Of it, what counts on arrival and has left.
    left: u64,
    counted: VecDeque<Counted>,
    spent: u64,
    /// Whether nothing else is counted than what is in these books.
    pub(crate) is_complete: bool,
}

#[derive(Clone, Copy, Debug)]
struct Counted {
    number: u64,
    stamp: u64,
    amount: u64,
}

/// How a call ended, for one limit.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ended {
    pub(crate) number: u64,
    pub(crate) reserved: u64,
    /// What it used; `None`: nobody knows.
    pub(crate) used: Option<u64>,
    /// Whether its sending was told; when it was sent, and by when it is over.
    pub(crate) was_told: bool,
    pub(crate) sent: u64,
    pub(crate) latest: u64,
}

impl Books {
    pub(crate) const fn new(kind: Kind, window: u64, delay: u64) -> Self {
        Self {
            kind,
            window,
            delay,
            slack: (window + delay) / 246 + 2,
            reserved: 0,
            settled: 0,
            released: 0,
            lost: 0,
            outstanding: 0,
            left: 0,
            counted: VecDeque::new(),
            spent: 0,
            is_complete: true,
        }
    }

    pub(crate) fn admit(&mut self, reserved: u64) {
        self.reserved += u128::from(reserved);
        self.outstanding += reserved;
    }

    pub(crate) fn sent(&mut self, number: u64, reserved: u64, now: u64) {
        if self.kind == Kind::Arrival {
            self.left += reserved;
            self.counted.push_back(Counted { number, stamp: now + self.delay, amount: reserved });
        }
    }

    pub(crate) fn head(&mut self, number: u64, now: u64) {
        for counted in self.counted.iter_mut().filter(|counted| counted.number == number) {
            counted.stamp = counted.stamp.min(now);
        }
    }

    pub(crate) fn settle(&mut self, ended: Ended, now: u64) {
        let Ended { number, reserved, used, .. } = ended;
        let amount = used.unwrap_or(reserved);
        self.outstanding -= reserved;
        // An overrun was never reserved.
        self.reserved += u128::from(amount.saturating_sub(reserved));
        self.settled += u128::from(amount);
        self.released += u128::from(reserved.saturating_sub(amount));
        match self.kind {
            Kind::Arrival if ended.was_told => {
                self.left -= reserved;
                let here = self.counted.iter_mut().filter(|counted| counted.number == number);
                here.for_each(|counted| counted.amount = amount);
            }
            Kind::Arrival => {
                self.counted.push_back(Counted { number, stamp: ended.sent + self.delay, amount });
            }
            Kind::Completion | Kind::Flow => {
                let over = if used.is_some() { now } else { now.max(ended.sent + ended.latest) };
                self.counted.push_back(Counted { number, stamp: over, amount });
            }
            Kind::Spent => self.spent += amount,
            Kind::InFlight | Kind::Bucket => {}
        }
    }

    pub(crate) fn cancel(&mut self, number: u64, reserved: u64, was_told: bool) {
        self.outstanding -= reserved;
        self.released += u128::from(reserved);
        if self.kind == Kind::Arrival && was_told {
            self.left -= reserved;
            self.counted.retain(|counted| counted.number != number);
        }
    }

    /// Everything in flight is gone with its process, and counts as used.
    pub(crate) fn restart(&mut self) {
        self.lost += u128::from(self.outstanding);
        if self.kind == Kind::Spent {
            self.spent += self.outstanding;
        }
        (self.outstanding, self.left) = (0, 0);
        self.counted.clear();
        self.is_complete = false;
    }

    /// What the rules hold at least, together with what is held.
    pub(crate) fn least(&mut self, now: u64) -> u64 {
        self.forget(now);
        match self.kind {
            Kind::Flow | Kind::Bucket => 0,
            _ => self.held() + self.spent + self.sum(now, 0),
        }
    }

    /// S3, against what the limiter says of itself.
    pub(crate) fn check(&mut self, said: &LimitSnapshot, now: u64) -> Result<(), String> {
        self.forget(now);
        let all = self.settled + self.released + self.lost + u128::from(self.outstanding);
        if self.reserved != all {
            return Err(format!("the books are wrong: {self:?}"));
        }
        if said.held != self.held() {
            return Err(format!("S3: {} held, {} outstanding", said.held, self.held()));
        }
        // So many moments ahead are told apart; what shares one leaves with the later.
        if self.counted.iter().filter(|counted| counted.stamp > now).count() > AHEAD {
            self.is_complete = false;
        }
        let (least, most) = match self.kind {
            Kind::Spent => (self.spent, self.spent),
            Kind::InFlight => (0, 0),
            Kind::Bucket => (0, u64::MAX),
            _ => (self.sum(now, 0), self.sum(now, self.slack)),
        };
        if said.used < least || (self.is_complete && said.used > most) {
            return Err(format!("S3: {} counted, from {least} to {most} by the rules", said.used));
        }
        Ok(())
    }

    /// What is reserved and not counted yet.
    fn held(&self) -> u64 {
        match self.kind {
            Kind::Bucket => 0,
            _ => self.outstanding - self.left,
        }
    }

    fn sum(&self, now: u64, slack: u64) -> u64 {
        let counts = |counted: &&Counted| counted.stamp + self.window + slack > now;
        self.counted.iter().filter(counts).map(|counted| counted.amount).sum()
    }

    fn forget(&mut self, now: u64) {
        // In the order in which they were told, which is nearly that of their stamps.
        let gone = |counted: &Counted| counted.stamp + self.window + self.slack <= now;
        while self.counted.front().is_some_and(gone) {
            self.counted.pop_front();
        }
    }
}

/// How many moments to come a limit tells apart.
const AHEAD: usize = 32;
