//! What keeps an account of every attempt: first the intent, then the outcome.
//!
//! The trait does no I/O itself. An attempt may leave only after its intent was recorded, so that
//! a program that dies knows, when it starts again, what may have been spent.

use std::error::Error;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use paceline_core::{Caller, ModelId, Money, Tag, UnixMillis, Usage};
use serde::Serialize;

/// Which attempt of which call.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[non_exhaustive]
pub struct AttemptId {
    /// The call's name, unique in the record; the caller chooses it.
    pub call: String,
    /// 1 for the first attempt.
    pub attempt: u32,
}

impl AttemptId {
    /// Attempt `attempt`, from 1, of the call named `call`.
    pub fn new(call: impl Into<String>, attempt: u32) -> Self {
        Self { call: call.into(), attempt }
    }
}

/// What is about to be sent, and what it may use at most.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Intent {
    /// Which attempt.
    pub id: AttemptId,
    /// The model whose limits it counts against.
    pub model: ModelId,
    /// When it was admitted.
    pub at: UnixMillis,
    /// Total tokens reserved for it.
    pub total_tokens: u64,
    /// Money reserved for it.
    pub cost: Money,
    /// By when it is over, counted from `at`, where that is known.
    pub latest: Option<Duration>,
    /// The place in a program that it comes from, where that has a name.
    pub tag: Option<Tag>,
    /// Whom it is made for, where that is told apart.
    pub caller: Option<Caller>,
}

impl Intent {
    /// An attempt that is about to leave, with nothing reserved but itself.
    pub fn new(id: AttemptId, model: ModelId, at: UnixMillis) -> Self {
        let (total_tokens, cost) = (0, Money::ZERO);
        Self { id, model, at, total_tokens, cost, latest: None, tag: None, caller: None }
    }

    /// With the tokens reserved for it.
    #[must_use]
    pub const fn total_tokens(mut self, tokens: u64) -> Self {
        self.total_tokens = tokens;
        self
    }

    /// With the money reserved for it.
    #[must_use]
    pub const fn cost(mut self, cost: Money) -> Self {
        self.cost = cost;
        self
    }

    /// With the time by which it is over, counted from its sending.
    #[must_use]
    pub const fn latest(mut self, latest: Duration) -> Self {
        self.latest = Some(latest);
        self
    }

    /// With the place in a program that it comes from.
    #[must_use]
    pub fn tag(mut self, tag: Tag) -> Self {
        self.tag = Some(tag);
        self
    }

    /// With whom it is made for.
    #[must_use]
    pub fn caller(mut self, caller: Caller) -> Self {
        self.caller = Some(caller);
        self
    }
}

/// How an attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Ending {
    /// The server answered it.
    Answered,
    /// The server refused it before doing any work: nothing was spent but the request.
    Refused,
    /// It certainly never left.
    NotSent,
    /// It may have been charged although no good answer came; what was reserved is spent.
    MaybeCharged,
}

/// What became of an attempt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Outcome {
    /// Which attempt.
    pub id: AttemptId,
    /// When it was over.
    pub at: UnixMillis,
    /// How it ended.
    pub ending: Ending,
    /// The status of the answer, where one came.
    pub status: Option<u16>,
    /// What it used, where that was reported.
    pub usage: Option<Usage>,
    /// What it cost, or what is entered for it.
    pub cost: Money,
}

impl Outcome {
    /// How an attempt ended, with nothing spent so far.
    pub const fn new(id: AttemptId, at: UnixMillis, ending: Ending) -> Self {
        Self { id, at, ending, status: None, usage: None, cost: Money::ZERO }
    }

    /// With the status of the answer.
    #[must_use]
    pub const fn status(mut self, status: u16) -> Self {
        self.status = Some(status);
        self
    }

    /// With what it used.
    #[must_use]
    pub const fn usage(mut self, usage: Usage) -> Self {
        self.usage = Some(usage);
        self
    }

    /// With what it cost.
    #[must_use]
    pub const fn cost(mut self, cost: Money) -> Self {
        self.cost = cost;
        self
    }
}

/// The answer of [`Record::intent`].
pub type Recorded<'a> = Pin<Box<dyn Future<Output = Result<(), RecordError>> + Send + 'a>>;

/// Keeps the account of every attempt.
pub trait Record: Send + Sync + fmt::Debug {
    /// Records what is about to be sent. The attempt leaves once this is ready, and not at all
    /// where it fails: what can't be accounted for is not spent. A [refusal](RecordError::refused)
    /// ends this attempt alone; any other error ends all admission. Either way an outcome
    /// [`Ending::NotSent`] of the same name may follow, which must not touch an older namesake.
    ///
    /// # Cancel safety
    /// Where the future is dropped, the intent may or may not have been recorded; an intent
    /// without an outcome counts as spent.
    fn intent<'a>(&'a self, intent: &'a Intent) -> Recorded<'a>;

    /// Records what became of an attempt. It returns at once and is safe in `Drop`.
    ///
    /// # Errors
    /// [`RecordError`] where it could not be kept; the caller then stops admitting.
    fn outcome(&self, outcome: &Outcome) -> Result<(), RecordError>;
}

/// Why an attempt is not in the account.
///
/// Either the account can't be kept, so that nothing more may be spent, or it
/// [refuses this attempt alone](RecordError::refused), and goes on.
#[derive(Debug)]
pub struct RecordError {
    what: String,
    is_refusal: bool,
    source: Option<Box<dyn Error + Send + Sync>>,
}

impl RecordError {
    /// The account can't be kept: what failed, in a few words without a secret.
    pub fn new(what: impl Into<String>) -> Self {
        Self { what: what.into(), is_refusal: false, source: None }
    }

    /// The account is kept, and this attempt is not taken into it, such as one whose name it has
    /// already: why, in a few words without a secret.
    pub fn refused(what: impl Into<String>) -> Self {
        Self { what: what.into(), is_refusal: true, source: None }
    }

    /// Whether it concerns this attempt alone, and others can be recorded.
    pub const fn is_refusal(&self) -> bool {
        self.is_refusal
    }

    /// With the error behind it.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }
}

impl fmt::Display for RecordError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

impl Error for RecordError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_deref().map(|source| source as &(dyn Error + 'static))
    }
}
