//! What a limit is, as data: how much, over what time, how it forgets, when it counts.
//!
//! It counts nothing. Invariant: a [`Rule`] that exists has a window, and a capacity or slices
//! where its shape has any.

use std::time::Duration;

use thiserror::Error;

/// How a server's count forgets.
///
/// Windows of the clock begin at [`Instant::ORIGIN`](paceline_core::Instant::ORIGIN) and at every
/// multiple of their length after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Shape {
    /// An exact log of `(now - window, now]`: what is exactly a window old has left it.
    Sliding,
    /// From zero at every window of the clock.
    Aligned,
    /// The present window of the clock, and of the one before it the share that a window ending
    /// now would still reach into. Rounded up, which decides as the fraction itself would.
    TwoCounter,
    /// A bucket, full at first, refilled without steps at the limit a window. What is charged is
    /// taken out, into debt where it has to be; what it lacks is what counts as used, rounded up.
    ///
    /// Who asks for more than it holds is let in when it is full.
    Bucket {
        /// What it holds at most; 1 or more. It may differ from the limit either way.
        capacity: u64,
    },
    /// So many slices to a window of the clock, each forgotten whole when the window's end reaches
    /// the same slice again: counted are the present one and the `count - 1` before it. One slice
    /// is [`Shape::Aligned`].
    Slices {
        /// How many; 1 or more.
        count: u32,
    },
}

/// When a call is counted, and by what it is judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Charge {
    /// Judged and counted by all it will use, when it arrives.
    Arrival,
    /// Judged by its input when it arrives, counted by all it used when it is over.
    Completion,
    /// Judged and counted by what it could use at most when it arrives. When it is over, what it
    /// used stands in the place of that, as if it had been counted from the start.
    ///
    /// A bucket keeps no past that could be edited: it gets back what was not used, and never
    /// holds more than its capacity.
    Held,
}

/// One limit and how it is kept.
///
/// # Examples
/// ```
/// use std::time::Duration;
/// use paceline_sim::engine::{Charge, InvalidRule, Rule, Shape};
///
/// let minute = Duration::from_secs(60);
/// let quarter = Shape::Bucket { capacity: 250 };
/// let rule = Rule::new(1_000, minute, quarter, Charge::Arrival)?;
/// assert_eq!((rule.limit(), rule.most()), (1_000, 250));
/// let empty = Rule::new(1_000, minute, Shape::Bucket { capacity: 0 }, Charge::Arrival);
/// assert_eq!(empty, Err(InvalidRule::Capacity));
/// # Ok::<(), InvalidRule>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Rule {
    limit: u64,
    window: Duration,
    shape: Shape,
    charge: Charge,
}

/// Which part of a rule can't be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Error)]
#[non_exhaustive]
pub enum InvalidRule {
    /// A window of no length.
    #[error("the window is zero; it must be longer")]
    Window,
    /// A bucket that holds nothing.
    #[error("the capacity of the bucket is zero; it must be 1 or more")]
    Capacity,
    /// A window of no slices.
    #[error("the count of slices is zero; it must be 1 or more")]
    Count,
}

impl Rule {
    /// So much in a window. A limit of 0 refuses all that asks for something, except that a bucket
    /// still gives what it holds, once.
    ///
    /// # Errors
    /// [`InvalidRule`] where the window, a bucket's capacity or the count of slices is zero.
    pub const fn new(
        limit: u64,
        window: Duration,
        shape: Shape,
        charge: Charge,
    ) -> Result<Self, InvalidRule> {
        if window.is_zero() {
            return Err(InvalidRule::Window);
        }
        match shape {
            Shape::Bucket { capacity: 0 } => Err(InvalidRule::Capacity),
            Shape::Slices { count: 0 } => Err(InvalidRule::Count),
            _ => Ok(Self { limit, window, shape, charge }),
        }
    }

    /// How much is allowed in a window; for a bucket, by how much it is refilled.
    pub const fn limit(&self) -> u64 {
        self.limit
    }

    /// How long a window is.
    pub const fn window(&self) -> Duration {
        self.window
    }

    /// How it forgets.
    pub const fn shape(&self) -> Shape {
        self.shape
    }

    /// When it counts.
    pub const fn charge(&self) -> Charge {
        self.charge
    }

    /// The most that may be counted at once: what a bucket holds, else the limit.
    pub const fn most(&self) -> u64 {
        match self.shape {
            Shape::Bucket { capacity } => capacity,
            _ => self.limit,
        }
    }

    /// So much in a minute, of a shape that is known to be legal.
    pub(crate) const fn a_minute(limit: u64, shape: Shape, charge: Charge) -> Self {
        Self { limit, window: Duration::from_secs(60), shape, charge }
    }

    /// The same with another limit.
    #[must_use]
    pub(super) const fn with_limit(mut self, limit: u64) -> Self {
        self.limit = limit;
        self
    }
}

/// The thirteen rules that servers are known or suspected to keep, by name.
///
/// A part of the limit as the capacity of a bucket is rounded down, and 1 at least.
///
/// # Errors
/// [`InvalidRule::Window`] where the window is zero.
///
/// # Examples
/// ```
/// use std::time::Duration;
/// use paceline_sim::engine::{InvalidRule, shapes};
///
/// let (name, rule) = shapes(6_000, Duration::from_secs(60))?[11];
/// assert_eq!((name, rule.most()), ("bucket L/60, arrival", 100));
/// # Ok::<(), InvalidRule>(())
/// ```
pub fn shapes(limit: u64, window: Duration) -> Result<[(&'static str, Rule); 13], InvalidRule> {
    use Charge::{Arrival, Completion, Held};
    use Shape::{Aligned, Sliding, TwoCounter};
    let part = |of: u64| Shape::Bucket { capacity: (limit / of).max(1) };
    let rule = |shape, charge| Rule::new(limit, window, shape, charge);
    Ok([
        ("sliding, completion", rule(Sliding, Completion)?),
        ("sliding, arrival", rule(Sliding, Arrival)?),
        ("aligned, completion", rule(Aligned, Completion)?),
        ("aligned, arrival", rule(Aligned, Arrival)?),
        ("two counters, completion", rule(TwoCounter, Completion)?),
        ("two counters, arrival", rule(TwoCounter, Arrival)?),
        ("bucket L, completion", rule(part(1), Completion)?),
        ("bucket L, arrival", rule(part(1), Arrival)?),
        ("bucket L/4, completion", rule(part(4), Completion)?),
        ("bucket L/4, arrival", rule(part(4), Arrival)?),
        ("bucket L/60, completion", rule(part(60), Completion)?),
        ("bucket L/60, arrival", rule(part(60), Arrival)?),
        ("held", rule(Sliding, Held)?),
    ])
}
