//! The seam between those who make calls and those who limit them.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use crate::demand::Demand;
use crate::dimension::Dimension;
use crate::limit_key::LimitKey;
use crate::quota::Quota;
use crate::receipt::{Actual, Receipt};
use crate::time::Instant;

/// What decides when a call may leave: every limit and spending cap that applies, at once.
///
/// A call goes through these moments, in this order:
/// 1. [`acquire`](Admission::acquire) grants a [`Receipt`]. The demand is reserved from now on.
/// 2. [`sent`](Admission::sent), just before the first byte can leave. From here on the call may
///    have been charged.
/// 3. [`head_received`](Admission::head_received), when the answer begins: what the server
///    counts on arrival it has counted by now.
/// 4. [`settle`](Admission::settle), when the call is over: what it used replaces what was
///    reserved.
///
/// A call that never reached step 2 is taken back whole by
/// [`cancel_unsent`](Admission::cancel_unsent). Whoever drops a call after step 2 settles it with
/// [`Actual::new`], which keeps what was reserved, because the server may charge it.
///
/// Every method but `acquire` returns at once, blocks on nothing and is safe in `Drop`. A receipt
/// of another limiter, or one already settled, changes nothing.
///
/// Implemented by the in-process limiter; implement it to share a quota in another way.
pub trait Admission: Send + Sync + fmt::Debug {
    /// The present moment on the clock that deadlines and pauses are told in.
    fn now(&self) -> Instant;

    /// Waits until every limit admits the demand, then reserves it in all of them.
    ///
    /// # Errors
    /// The future yields a [`Refusal`] where waiting would not help or may not go on.
    ///
    /// # Cancel safety
    /// Dropping the future gives back its place and whatever it had been granted. Once the receipt is
    /// yielded, nothing gives it back but [`settle`](Admission::settle) or
    /// [`cancel_unsent`](Admission::cancel_unsent): hold it in something that calls one of them in its
    /// `Drop`.
    ///
    /// # Fairness
    /// First come, first served within a [`Class`](crate::Class).
    fn acquire<'a>(&'a self, demand: &'a Demand) -> Acquire<'a>;

    /// The call is about to leave. Call it at the first poll of the sending.
    fn sent(&self, receipt: Receipt);

    /// The head of the answer has arrived.
    fn head_received(&self, receipt: Receipt);

    /// A stream has shown so much of its output so far, in the unit of what is counted when a call
    /// is over. Who can't use that ignores it, which is the default.
    fn progress(&self, receipt: Receipt, output: u64) {
        let _ = (receipt, output);
    }

    /// The call is over and used this much. Later calls for the same receipt change nothing.
    fn settle(&self, receipt: Receipt, actual: &Actual);

    /// The call certainly never left: everything goes back.
    fn cancel_unsent(&self, receipt: Receipt);

    /// Takes in what was learned about a limit.
    fn observe(&self, observation: &Observation);

    /// Admits nothing that `key` (and, where given, `dimension`) counts before `until`. A pause
    /// is never shortened by a later one.
    fn pause(&self, key: &LimitKey, dimension: Option<Dimension>, until: Instant);
}

/// The answer of [`Admission::acquire`]: granted at once without allocation, or a boxed refusal or
/// wait.
#[must_use = "nobody is admitted by a future that is not awaited"]
pub struct Acquire<'a> {
    /// Apart from the rest, so that a grant is a few words that are moved about and tested.
    granted: Option<Receipt>,
    /// Who takes the grant back where nobody looks at it.
    by: Option<&'a dyn Admission>,
    otherwise: Option<Otherwise<'a>>,
}

enum Otherwise<'a> {
    Refused(Box<Refusal>),
    Waiting(Pin<Box<dyn Future<Output = Result<Receipt, Refusal>> + Send + 'a>>),
}

impl<'a> Acquire<'a> {
    /// A grant that is known, and goes back to `by` where this is dropped without having yielded it.
    #[inline]
    pub const fn granted(receipt: Receipt, by: &'a dyn Admission) -> Self {
        Self { granted: Some(receipt), by: Some(by), otherwise: None }
    }

    /// An answer that is known. A receipt in it is lost where this is dropped without having yielded
    /// it; see [`Acquire::granted`].
    #[inline]
    pub fn ready(answer: Result<Receipt, Refusal>) -> Self {
        match answer {
            Ok(receipt) => Self { granted: Some(receipt), by: None, otherwise: None },
            Err(refusal) => Self::otherwise(Otherwise::Refused(Box::new(refusal))),
        }
    }

    /// An answer that has to be waited for.
    pub fn waiting(answer: impl Future<Output = Result<Receipt, Refusal>> + Send + 'a) -> Self {
        Self::otherwise(Otherwise::Waiting(Box::pin(answer)))
    }

    /// Whether the answer was known without waiting.
    pub const fn is_ready(&self) -> bool {
        !matches!(self.otherwise, Some(Otherwise::Waiting(_)))
    }

    const fn otherwise(otherwise: Otherwise<'a>) -> Self {
        Self { granted: None, by: None, otherwise: Some(otherwise) }
    }
}

impl Future for Acquire<'_> {
    type Output = Result<Receipt, Refusal>;

    /// # Panics
    /// When polled again after it has yielded, as futures may.
    #[inline]
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        if let Some(receipt) = self.granted.take() {
            return Poll::Ready(Ok(receipt));
        }
        // Boxed, so that the answer of one who is granted need not be moved as one of all.
        self.poll_otherwise(context).map_err(|refusal| *refusal)
    }
}

impl Drop for Acquire<'_> {
    #[inline]
    fn drop(&mut self) {
        if let (Some(receipt), Some(by)) = (self.granted, self.by) {
            by.cancel_unsent(receipt);
        }
    }
}

impl Acquire<'_> {
    #[inline(never)]
    fn poll_otherwise(&mut self, context: &mut Context<'_>) -> Poll<Result<Receipt, Box<Refusal>>> {
        if let Some(Otherwise::Waiting(wait)) = &mut self.otherwise {
            return wait.as_mut().poll(context).map_err(Box::new);
        }
        match self.otherwise.take() {
            Some(Otherwise::Refused(refusal)) => Poll::Ready(Err(refusal)),
            _ => panic!("`Acquire` polled after it was ready"),
        }
    }
}

impl fmt::Debug for Acquire<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.granted, &self.otherwise) {
            (Some(receipt), _) => f.debug_tuple("Acquire::Granted").field(receipt).finish(),
            (None, Some(Otherwise::Refused(refusal))) => {
                f.debug_tuple("Acquire::Refused").field(refusal).finish()
            }
            (None, Some(Otherwise::Waiting(_))) => f.write_str("Acquire::Waiting"),
            (None, None) => f.write_str("Acquire::Yielded"),
        }
    }
}

/// One limit, as a refusal names it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RefusedBy {
    /// Whose calls it counts.
    pub key: LimitKey,
    /// What it counts.
    pub dimension: Dimension,
    /// How much, and when it comes back.
    pub quota: Quota,
}

impl RefusedBy {
    /// A limit by whose calls it counts, what it counts, and how much of it.
    pub const fn new(key: LimitKey, dimension: Dimension, quota: Quota) -> Self {
        Self { key, dimension, quota }
    }
}

impl fmt::Display for RefusedBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.dimension {
            Dimension::Money => write!(
                f,
                "the spending cap of {} for {}",
                crate::Money::from_ticks(self.quota.limit().get().into()),
                self.key
            ),
            dimension => write!(f, "the limit of {} {dimension} for {}", self.quota, self.key),
        }
    }
}

/// What keeps a demand from being admitted now, and until when.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Blocked {
    /// The limit that binds; `None` where others wait in front or a pause is on.
    pub by: Option<RefusedBy>,
    /// The moment to ask again, never in the past and never now. `None` where time alone does
    /// not help: a call in flight has to end first.
    pub until: Option<Instant>,
}

impl Blocked {
    /// What blocks, and until when.
    pub const fn new(by: Option<RefusedBy>, until: Option<Instant>) -> Self {
        Self { by, until }
    }

    /// How long to wait from `now`: at least a nanosecond, `None` where time alone does not help.
    pub fn wait(&self, now: Instant) -> Option<Duration> {
        self.until.map(|until| until.since(now).max(Duration::from_nanos(1)))
    }
}

/// Why a demand was not admitted. A refusal changes nothing in any limit.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refusal {
    /// Not now. Only those who do not wait see this.
    NotUntil(
        /// What blocks it.
        Blocked,
    ),
    /// Never: it asks for more than the limit allows at all.
    Never {
        /// The limit it does not fit.
        by: RefusedBy,
        /// What it asked for.
        asked: u64,
    },
    /// What is left of a quota that does not come back is less than it asks for.
    Exhausted {
        /// The limit that is spent.
        by: RefusedBy,
        /// How much is spent.
        spent: u64,
        /// What it asked for.
        asked: u64,
    },
    /// It could not be admitted before its deadline.
    Deadline {
        /// The moment it could have been admitted, where that is known.
        earliest: Option<Instant>,
    },
    /// Too many wait already.
    QueueFull {
        /// How many wait.
        waiting: usize,
    },
    /// The limits can't be asked any more, or not reached.
    Unavailable {
        /// Why, in a few words.
        reason: &'static str,
    },
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotUntil(Blocked { by: Some(by), .. }) => write!(f, "{by} is used up for now"),
            Self::NotUntil(Blocked { by: None, .. }) => f.write_str("not yet admitted"),
            Self::Never { by, asked } if by.dimension == Dimension::Money => write!(
                f,
                "it may cost {}, more than {by}",
                crate::Money::from_ticks((*asked).into())
            ),
            Self::Never { by, asked } => {
                write!(f, "it needs {asked} {}, more than {by} allows at all", by.dimension)
            }
            Self::Exhausted { by, spent, .. } if by.dimension == Dimension::Money => write!(
                f,
                "{by} is reached: {} are spent",
                crate::Money::from_ticks((*spent).into())
            ),
            Self::Exhausted { by, spent, asked } => {
                write!(f, "{by} is spent: {spent} used, {asked} asked for")
            }
            Self::Deadline { .. } => f.write_str("it can't be admitted before its deadline"),
            Self::QueueFull { waiting } => write!(f, "{waiting} calls wait already"),
            Self::Unavailable { reason } => write!(f, "the limits can't be asked: {reason}"),
        }
    }
}

impl std::error::Error for Refusal {}

/// Something learned about a limit while calls are made.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Observation {
    /// A limit that is in force: it is created, or changed at once. Waiting calls are judged
    /// anew; a raise mints no burst.
    Stated {
        /// Whose calls it counts.
        key: LimitKey,
        /// What it counts.
        dimension: Dimension,
        /// How much; limits of one key and dimension are told apart by their windows.
        quota: Quota,
    },
    /// The server does not limit this.
    Unlimited {
        /// Whose calls it counted.
        key: LimitKey,
        /// What it counted.
        dimension: Dimension,
        /// The refill of the limit that is gone.
        refill: crate::Refill,
    },
    /// What the server said is left in its window. It may only ever tighten.
    Remaining {
        /// Whose calls it counts.
        key: LimitKey,
        /// What it counts.
        dimension: Dimension,
        /// What is left.
        remaining: u64,
        /// Of how much.
        limit: u64,
    },
    /// The server refused a call for its rate.
    Refused {
        /// Whose calls it counts.
        key: LimitKey,
        /// The limit it named, if it did.
        dimension: Option<Dimension>,
        /// What the server says it had counted, if it did.
        actual: Option<u64>,
        /// What the server says its limit is, if it did.
        limit: Option<u64>,
        /// The call that was refused, not settled yet: what left before others were refused says
        /// nothing new.
        receipt: Option<Receipt>,
    },
    /// The moment at which the server was seen to count. A limit that is charged on completion
    /// because the server was known to do so falls back to holding what calls could use, and may
    /// return.
    CountedOn {
        /// Whose calls it counts.
        key: LimitKey,
        /// What it counts.
        dimension: Dimension,
        /// When.
        moment: ChargeMoment,
    },
}

/// When a server counts a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ChargeMoment {
    /// When it arrives.
    Arrival,
    /// When it is over.
    Completion,
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU64;
    use std::task::Waker;

    use super::*;
    use crate::receipt::LimiterId;

    fn assert_send_sync<T: Send + Sync + ?Sized>() {}

    #[test]
    fn the_seam_is_object_safe_and_shareable() {
        assert_send_sync::<dyn Admission>();
        assert_send_sync::<Refusal>();
        assert_send_sync::<Observation>();
    }

    #[test]
    fn a_known_answer_is_ready_at_the_first_poll() {
        let receipt = Receipt::new(LimiterId::new(NonZeroU64::MIN), 2);
        let mut answer = Acquire::ready(Ok(receipt));
        assert!(answer.is_ready());
        let polled = Pin::new(&mut answer).poll(&mut Context::from_waker(Waker::noop()));
        assert_eq!(polled, Poll::Ready(Ok(receipt)));
    }

    #[test]
    fn a_wait_is_never_zero() {
        let now = Instant::from_nanos(9);
        assert_eq!(Blocked::new(None, Some(now)).wait(now), Some(Duration::from_nanos(1)));
        assert_eq!(Blocked::new(None, None).wait(now), None);
    }

    #[test]
    fn a_refusal_says_what_was_asked_and_what_there_is() {
        let quota = Quota::per_minute(NonZeroU64::new(16_000).expect("not zero"));
        let by = RefusedBy::new(LimitKey::Model("grok-4".into()), Dimension::TotalTokens, quota);
        assert_eq!(
            Refusal::Never { by, asked: 70_100 }.to_string(),
            "it needs 70100 tokens, more than the limit of 16000/min tokens for model grok-4 allows at all"
        );
        let cap = Quota::once(NonZeroU64::new(10_000_000_000).expect("not zero"));
        let by = RefusedBy::new(LimitKey::All, Dimension::Money, cap);
        assert_eq!(
            Refusal::Exhausted { by, spent: 9_990_000_000, asked: 20_000_000 }.to_string(),
            "the spending cap of $1.00 for all calls is reached: $0.999 are spent"
        );
    }
}
