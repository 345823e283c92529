//! The classes of a limit kept by Flow: which one a call is of, and what the first of all begins.
//!
//! It admits nothing. Invariant: there are [`CLASSES`] at most; the last one takes what comes later.

use std::time::Duration;

use paceline_core::Completion;

use super::class::{Class, MOST_OUTPUT, Outlook};
use super::{Ask, Flow, nanos, output};

impl Flow {
    /// The class of a call; a new one learns from what the call says of itself.
    #[inline]
    pub(super) fn class(&mut self, ask: &Ask<'_>) -> usize {
        match self.known(ask) {
            Some(index) => index,
            None => self.add_class(ask),
        }
    }

    /// The class of a call, if there is one already.
    #[inline]
    pub(super) fn known(&self, ask: &Ask<'_>) -> Option<usize> {
        let is_full = self.classes.len() >= CLASSES;
        let known = self.classes.iter().position(|class| class.name.as_ref() == ask.class);
        known.or(if is_full { Some(CLASSES - 1) } else { None })
    }

    fn add_class(&mut self, ask: &Ask<'_>) -> usize {
        let output = output(ask);
        let completes = ask
            .completes
            .unwrap_or_else(|| Completion::between(Duration::ZERO, self.grid_window()));
        let outlook = Outlook {
            output: self.scaled(output.expected_amount()).min(MOST_OUTPUT),
            spread: self.scaled(output.spread_amount()).min(MOST_OUTPUT),
            most: self.scaled(output.upper_amount()).min(MOST_OUTPUT),
            earliest: self.sight.key(nanos(completes.earliest())),
            latest: self.sight.key(nanos(completes.latest())),
        };
        let class = Class::new(ask.class.cloned(), &outlook, &self.sight.reach);
        if self.classes.is_empty() && self.sizes.0 == 0 {
            self.begin(ask, &class);
        }
        // They are few and large.
        self.classes.reserve_exact(1);
        self.classes.push(class);
        let index = self.classes.len() - 1;
        self.recall(index);
        index
    }

    /// The first call: sizes and credit begin with what it says.
    fn begin(&mut self, ask: &Ask<'_>, class: &Class) {
        let mean = self.scaled(ask.amount.expected_amount()).clamp(1, MOST_OUTPUT);
        let spread = self.scaled(ask.amount.spread_amount()).min(MOST_OUTPUT);
        self.sizes = (mean * SIZES_PRIOR, (mean * mean + spread * spread) * SIZES_PRIOR);
        self.crest = self.crest();
        if self.is_restored {
            return;
        }
        let latency = class.middle_age() << (self.grid.shift() - 11);
        let share = u128::from(self.limit) * u128::from(latency.min(self.grid.window()))
            / u128::from(self.grid.window());
        // Something, or the first call would ask for ever: nothing is kept of one that did not leave.
        let share = share.max(1);
        // What came before and is more than the limit is debt.
        let debt = self.settled.counted().saturating_sub(self.limit);
        let share = i128::try_from(share).unwrap_or(i128::MAX).saturating_sub(i128::from(debt));
        self.lent = self.credit.begin(share);
    }

    /// No call has come yet after all.
    pub(super) fn unbegin(&mut self) {
        self.sizes = (0, 0);
        self.crest = self.crest();
        self.credit.unbegin(std::mem::take(&mut self.lent));
    }

    fn grid_window(&self) -> Duration {
        Duration::from_nanos(self.grid.window())
    }
}

/// Classes that are told apart; what comes later shares the last one.
pub(super) const CLASSES: usize = 9;

/// How many calls the first one's size stands for.
pub(super) const SIZES_PRIOR: u64 = 48;
