//! What a form of the limiter must be able to do to run a scenario.
//!
//! A new form is one more implementation of [`Driver`], in a file of its own, and one more
//! [`Form`]. Invariant: what a form can't do is [`Unable`], never a step left out.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use paceline_core::{
    Actual, Demand, Dimension, Instant, LimitKey, Observation, Quota, Receipt, Refusal,
};
use paceline_limiter::Snapshot;

/// A form of the limiter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// `Limiter`, from this moment on its clock.
    Pure(Instant),
    /// `clock::SharedLimiter`, from this moment on its clock.
    #[cfg(feature = "clock")]
    Clock(Instant),
    /// `tokio::SharedLimiter`.
    #[cfg(feature = "tokio")]
    Async,
    /// `dyn paceline_core::Admission`, as the facade holds it.
    #[cfg(feature = "tokio")]
    Seam,
}

impl Form {
    /// As a scenario's `except` names it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Pure(_) => "pure",
            #[cfg(feature = "clock")]
            Self::Clock(_) => "clock",
            #[cfg(feature = "tokio")]
            Self::Async => "async",
            #[cfg(feature = "tokio")]
            Self::Seam => "seam",
        }
    }

    /// Every name there is, whatever the features.
    pub(crate) const NAMES: [&str; 4] = ["pure", "clock", "async", "seam"];

    /// Whether anybody can wait in it. One that can't is not given scenarios with waiters.
    pub(crate) const fn waits(self) -> bool {
        match self {
            Self::Pure(_) => true,
            #[cfg(feature = "clock")]
            Self::Clock(_) => true,
            #[cfg(feature = "tokio")]
            Self::Async | Self::Seam => true,
        }
    }
}

/// Something that changes a limiter and answers nothing.
#[derive(Clone, Debug)]
pub(crate) enum Act {
    Sent(Receipt),
    Head(Receipt),
    Settle(Receipt, Actual),
    Cancel(Receipt),
    SetLimit(LimitKey, Dimension, Quota),
    Pause(LimitKey, Option<Dimension>, Instant),
    Observe(Observation),
    RecordPast(Box<Demand>, Instant),
}

/// What a waiter was told, and when.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) call: String,
    /// Since the scenario's start.
    pub(crate) at: Duration,
    pub(crate) answer: Result<Receipt, Refusal>,
}

/// Something that this form can't do or see.
#[derive(Clone, Debug)]
pub(crate) struct Unable(pub(crate) &'static str);

/// A form that runs a scenario. All times are moments since the scenario's start.
pub(crate) trait Driver {
    /// The scenario's start on the form's own clock.
    fn base(&self) -> Instant;

    /// How late its timers may be.
    fn lateness(&self) -> Duration {
        Duration::ZERO
    }

    /// Whether its refusals name the limit that binds.
    fn names_limits(&self) -> bool {
        true
    }

    /// Lets time pass, and serves whoever may go on the way.
    fn pass(&mut self, at: Duration) -> Result<(), Unable>;

    /// Lets time jump. Where nobody waits that is the same.
    fn leap(&mut self, at: Duration) -> Result<(), Unable> {
        self.pass(at)
    }

    /// Asks without waiting.
    fn ask(&mut self, demand: &Demand) -> Result<Receipt, Refusal>;

    /// Changes something.
    fn act(&mut self, act: Act) -> Result<(), Unable>;

    /// Asks and waits; the answer comes through [`Driver::answers`].
    fn wait(&mut self, _call: &str, _demand: Demand) -> Result<(), Unable> {
        Err(Unable("nobody waits in it"))
    }

    /// A waiter goes away; whether it was there.
    fn leave(&mut self, _call: &str) -> Result<bool, Unable> {
        Err(Unable("nobody waits in it"))
    }

    /// Serves whoever may go now; all answers since the last time, in order.
    fn answers(&mut self) -> Vec<Answer> {
        Vec::new()
    }

    /// The state of every limit.
    fn look(&mut self) -> Result<Snapshot, Unable>;
}

/// The receipts of calls, by the names that the scenario gives them.
pub(crate) type Calls = BTreeMap<String, Receipt>;

impl fmt::Display for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pure(base) => write!(f, "pure from {base}"),
            #[cfg(feature = "clock")]
            Self::Clock(base) => write!(f, "clock from {base}"),
            #[cfg(feature = "tokio")]
            Self::Async | Self::Seam => f.write_str(self.name()),
        }
    }
}
