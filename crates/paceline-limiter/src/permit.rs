//! A receipt that settles itself: what the shared forms hand out to those who might forget.
//!
//! It decides nothing. Invariant: what was granted is settled, cancelled or taken out as a receipt
//! exactly once, whatever becomes of its owner.

use std::fmt;

use paceline_core::{Actual, Receipt};

/// A call that was admitted, and its end: dropping it is enough, saying what was used is better.
///
/// A [`Receipt`] is plain data, and one that is lost holds what it reserved for ever. A permit can't
/// be lost: a task that is aborted, an early return and a panic all end in its `Drop`.
///
/// | it is | the limits count |
/// |---|---|
/// | [settled](Permit::settle) | what was used |
/// | dropped after [`sent`](Permit::sent) | what was reserved, since nobody knows what was used |
/// | dropped before `sent`, or [cancelled](Permit::cancel_unsent) | nothing: everything goes back |
///
/// **So say [`sent`](Permit::sent) when the work begins.** Whoever works and never says so has worked
/// outside of every limit but that on calls [in flight](paceline_core::Dimension::InFlight), and has
/// taken nothing of its fair share.
///
/// `H` is the handle that it goes back to: a clone (`Permit<SharedLimiter>`, which a spawned task can
/// own) from `permit` and `try_permit`, or a reference, for a path too hot to count clones, from
/// [`Permit::new`].
///
/// # Cancel safety
/// Nothing happens between the grant and the permit: dropping the future that waits for one gives back
/// its place, or the grant that it never saw.
///
/// # Panics
/// Nothing here does. `std::mem::forget` keeps what was reserved, as a lost receipt does.
///
/// # Examples
/// ```
/// # #[cfg(feature = "tokio")]
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use std::num::NonZeroU64;
/// use paceline_limiter::{
///     Actual, Amount, Demand, Dimension, Limit, LimitKey, Limiter, Quota,
///     tokio::SharedLimiter,
/// };
///
/// const UNITS: Dimension = Dimension::custom::<0>();
///
/// let limiter = SharedLimiter::new(Limiter::new());
/// let quota = Quota::per_minute(NonZeroU64::new(1_000).unwrap());
/// limiter.add(Limit::new(LimitKey::All, UNITS, quota))?;
/// let job = Demand::new().with(UNITS, Amount::expected(300).upper(600));
/// let used = || limiter.snapshot().limits[0].used;
///
/// let mut permit = limiter.permit(&job).await?;
/// permit.sent(); // the work begins
/// permit.settle(&Actual::new().with(UNITS, 250)); // it took 250
/// assert_eq!(used(), 250);
///
/// // A task that is aborted while it works: its 600 units count, and nothing is held for ever.
/// let mut permit = limiter.permit(&job).await?;
/// let task = tokio::spawn(async move {
///     permit.sent();
///     std::future::pending::<()>().await;
/// });
/// tokio::task::yield_now().await;
/// task.abort();
/// assert!(task.await.is_err());
/// assert_eq!((used(), limiter.snapshot().in_flight), (850, 0));
/// # Ok(())
/// # }
/// # #[cfg(not(feature = "tokio"))]
/// # fn main() {}
/// ```
#[must_use = "a permit that is dropped at once gives back what it was granted"]
pub struct Permit<H: Issuer> {
    issuer: H,
    receipt: Receipt,
    stage: Stage,
}

/// What issues receipts and takes them back: the shared forms, and references to them.
///
/// Sealed: another one may come with any version.
pub trait Issuer: sealed::Issuer {}

pub(crate) mod sealed {
    use paceline_core::{Actual, Receipt};

    /// The moments of a call. Each returns at once; a receipt of another limiter changes nothing.
    pub trait Issuer {
        /// It is about to leave.
        fn sent(&self, receipt: Receipt);
        /// The answer began.
        fn head_received(&self, receipt: Receipt);
        /// So much of the output was seen.
        fn progress(&self, receipt: Receipt, output: u64);
        /// It is over.
        fn settle(&self, receipt: Receipt, actual: &Actual);
        /// It never left.
        fn cancel_unsent(&self, receipt: Receipt);
    }

    impl<H: Issuer + ?Sized> Issuer for &H {
        fn sent(&self, receipt: Receipt) {
            (**self).sent(receipt);
        }

        fn head_received(&self, receipt: Receipt) {
            (**self).head_received(receipt);
        }

        fn progress(&self, receipt: Receipt, output: u64) {
            (**self).progress(receipt, output);
        }

        fn settle(&self, receipt: Receipt, actual: &Actual) {
            (**self).settle(receipt, actual);
        }

        fn cancel_unsent(&self, receipt: Receipt) {
            (**self).cancel_unsent(receipt);
        }
    }
}

impl<H: sealed::Issuer> Issuer for H {}

/// How far the call is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Granted,
    Sent,
    /// Nothing is left to do.
    Over,
}

impl<H: Issuer> Permit<H> {
    /// Takes charge of a receipt that `issuer` has just granted and that nobody has told it anything
    /// of: `Permit::new(&limiter, limiter.try_acquire(&demand)?)`.
    ///
    /// A receipt of another limiter, or one that was settled, is held in vain: nothing changes.
    pub const fn new(issuer: H, receipt: Receipt) -> Self {
        Self { issuer, receipt, stage: Stage::Granted }
    }

    /// The call is about to leave, or the work to begin: from now on it counts, whatever happens.
    pub fn sent(&mut self) {
        self.stage = Stage::Sent;
        self.issuer.sent(self.receipt);
    }

    /// The answer began: what is counted on arrival has been counted. Who never says so loses
    /// nothing but a little of the quota.
    pub fn head_received(&mut self) {
        self.issuer.head_received(self.receipt);
    }

    /// A stream has shown so much of its output; see [`Limiter::progress`](crate::Limiter::progress).
    /// A limiter with keys does not listen.
    pub fn progress(&mut self, output: u64) {
        self.issuer.progress(self.receipt, output);
    }

    /// It is over and used this much. A dimension that `actual` does not name keeps what was
    /// reserved.
    ///
    /// One that was never told [`Permit::sent`] counts as sent when it was admitted.
    pub fn settle(mut self, actual: &Actual) {
        self.stage = Stage::Over;
        self.issuer.settle(self.receipt, actual);
    }

    /// It certainly never left, even where [`Permit::sent`] was said, such as after a refused
    /// connection: everything goes back.
    pub fn cancel_unsent(mut self) {
        self.stage = Stage::Over;
        self.issuer.cancel_unsent(self.receipt);
    }

    /// The receipt, for an [`Observation`](paceline_core::Observation) that names it. The permit
    /// stays in charge of it: whoever settles the copy leaves nothing to do for the permit.
    pub const fn receipt(&self) -> Receipt {
        self.receipt
    }

    /// The receipt alone, to be settled elsewhere: in another process, or by what was written to a
    /// journal. Nothing settles it by itself any more.
    pub fn into_receipt(mut self) -> Receipt {
        self.stage = Stage::Over;
        self.receipt
    }
}

impl<H: Issuer> Drop for Permit<H> {
    fn drop(&mut self) {
        match self.stage {
            Stage::Granted => self.issuer.cancel_unsent(self.receipt),
            Stage::Sent => self.issuer.settle(self.receipt, &Actual::new()),
            Stage::Over => {}
        }
    }
}

impl<H: Issuer> fmt::Debug for Permit<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Permit")
            .field("receipt", &self.receipt)
            .field("stage", &self.stage)
            .finish_non_exhaustive()
    }
}
