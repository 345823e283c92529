//! One error for everything a call can end with.
//!
//! It never holds a key or an address; what came from the network is escaped and bounded.

use std::error::Error as StdError;
use std::fmt;
use std::time::Duration;

use paceline_budget::{RecordError, Standing};
use paceline_core::{Dimension, Money, Refusal, UnixMillis};
use paceline_transport::error_body::{Retry, ServerError, Stop, Verdict, Wait};
use paceline_transport::{TransportError, TransportErrorKind};

/// Why a call did not succeed.
#[derive(Debug)]
pub struct Error(Box<Inner>);

#[derive(Debug)]
struct Inner {
    kind: ErrorKind,
    message: String,
    status: Option<u16>,
    retry_after: Option<Duration>,
    renews_at: Option<UnixMillis>,
    attempts: u32,
    sent_at: Option<UnixMillis>,
    finished_at: Option<UnixMillis>,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

/// What kind of failure it was, and whether trying again later can help.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The client can't be built, or the call can't be made, as it was asked for. Not retried.
    Settings,
    /// The call asks for more than a limit allows at all. Not retried.
    TooLarge,
    /// What is left of a spending cap or a budget is less than the call may use. Not retried; after
    /// [`Error::renews_at`] it may succeed.
    BudgetReached,
    /// It could not be admitted before its deadline, or too many wait. Not retried; later it may
    /// succeed.
    NotAdmitted,
    /// The account of attempts can't be kept, so nothing may be spent. Not retried.
    Record,
    /// The account of attempts does not take this call, such as one whose name it has already; it was not
    /// sent. Not retried; other calls go on.
    NotRecorded,
    /// The server refused it for its rate more often than the policy retries, or asked to wait
    /// longer than the policy allows. Retried before.
    RateLimited,
    /// The server was too busy, more often than the policy retries. Retried before.
    Overloaded,
    /// The server could not be reached; the call certainly never left. Retried before.
    Unreachable,
    /// No good answer came, and the call may have been charged. Retried only where the policy
    /// allows that a call is billed twice.
    MaybeCharged,
    /// The key is wrong or blocked. Not retried; no further call is sent.
    Key,
    /// The team's credits or spending limit are used up. Not retried; no further call is sent.
    NoCredits,
    /// The key may not use this model or endpoint. Not retried; no further call is sent.
    NoEntitlement,
    /// The server does not take this call as it is: content, length, form. Not retried.
    Rejected,
    /// The server answered something that is no answer. It was charged. Not retried.
    BadAnswer,
}

impl Error {
    pub(crate) fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self(Box::new(Inner {
            kind,
            message: message.into(),
            status: None,
            retry_after: None,
            renews_at: None,
            attempts: 0,
            sent_at: None,
            finished_at: None,
            source: None,
        }))
    }

    pub(crate) fn because(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    pub(crate) fn after(mut self, attempts: u32) -> Self {
        self.0.attempts = attempts;
        self
    }

    pub(crate) fn retry_in(mut self, wait: Option<Duration>) -> Self {
        self.0.retry_after = wait;
        self
    }

    pub(crate) fn between(mut self, sent: UnixMillis, finished: UnixMillis) -> Self {
        self.0.sent_at = Some(sent);
        self.0.finished_at = Some(finished);
        self
    }

    /// The intent of an attempt is not in the record.
    pub(crate) fn not_recorded(error: RecordError) -> Self {
        let (kind, message) = if error.is_refusal() {
            (ErrorKind::NotRecorded, "the record does not take the attempt")
        } else {
            (ErrorKind::Record, "the attempt could not be recorded")
        };
        Self::new(kind, message).because(error)
    }

    pub(crate) fn refused(refusal: Refusal) -> Self {
        let kind = match &refusal {
            Refusal::Never { by, .. } if by.dimension == Dimension::Money => {
                ErrorKind::BudgetReached
            }
            Refusal::Never { .. } => ErrorKind::TooLarge,
            Refusal::Exhausted { .. } => ErrorKind::BudgetReached,
            _ => ErrorKind::NotAdmitted,
        };
        Self::new(kind, refusal.to_string())
    }

    /// A budget has less left than a call asks for at most.
    pub(crate) fn budget(standing: &Standing, asked: u64) -> Self {
        let budget = &standing.budget;
        let shown = |amount: u64| match budget.dimension() {
            Dimension::Money => Money::from_ticks(amount.into()).to_string(),
            _ => format!("{amount} tokens"),
        };
        let asked_words = match budget.dimension() {
            Dimension::Money => format!("the call may cost {}", shown(asked)),
            _ => format!("the call may use {}", shown(asked)),
        };
        if asked > budget.most().get() {
            let kind = match budget.dimension() {
                Dimension::Money => ErrorKind::BudgetReached,
                _ => ErrorKind::TooLarge,
            };
            let message = format!("{asked_words}, more than the budget of {budget} allows at all");
            return Self::new(kind, message);
        }
        let (spent, left) = (shown(standing.spent), shown(standing.left));
        let message = format!(
            "the budget of {budget} is spent: {spent} used, {left} left, and {asked_words}"
        );
        let mut made = Self::new(ErrorKind::BudgetReached, message);
        made.0.renews_at = standing.renews;
        made
    }

    pub(crate) fn server(error: &ServerError) -> Self {
        let kind = match error.verdict() {
            Verdict::Wait(Wait::Rate) => ErrorKind::RateLimited,
            // Whatever its status: it says that the server is too busy, not that we were too fast.
            Verdict::Wait(_) | Verdict::Retry(Retry::Overloaded) => ErrorKind::Overloaded,
            Verdict::Retry(_) => ErrorKind::MaybeCharged,
            Verdict::Stop(Stop::NoCredits) => ErrorKind::NoCredits,
            Verdict::Stop(Stop::NoEntitlement) => ErrorKind::NoEntitlement,
            Verdict::Stop(_) => ErrorKind::Key,
            _ => ErrorKind::Rejected,
        };
        let mut made = Self::new(kind, error.message());
        made.0.status = Some(error.status());
        made
    }

    pub(crate) fn transport(error: TransportError) -> Self {
        let kind = match (error.is_not_sent(), error.kind()) {
            (true, TransportErrorKind::InvalidRequest) => ErrorKind::Settings,
            (true, TransportErrorKind::Tls | TransportErrorKind::Certificate) => {
                ErrorKind::Settings
            }
            (true, _) => ErrorKind::Unreachable,
            (false, TransportErrorKind::BodyTooLarge) => ErrorKind::BadAnswer,
            (false, _) => ErrorKind::MaybeCharged,
        };
        Self::new(kind, error.kind().to_string()).because(error)
    }

    /// What kind of failure it was.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// The status of the last answer, where one came.
    pub fn status(&self) -> Option<u16> {
        self.0.status
    }

    /// How long the server asked to wait, where it did.
    pub fn retry_after(&self) -> Option<Duration> {
        self.0.retry_after
    }

    /// When the budget that refused the call begins anew, in UTC; `None` where it was no budget, or
    /// one without periods.
    pub fn renews_at(&self) -> Option<UnixMillis> {
        self.0.renews_at
    }

    /// How many times the call was sent, or tried to be.
    pub fn attempts(&self) -> u32 {
        self.0.attempts
    }

    /// When the last attempt left, if one did.
    pub fn sent_at(&self) -> Option<UnixMillis> {
        self.0.sent_at
    }

    /// When the last attempt was over, if one left.
    pub fn finished_at(&self) -> Option<UnixMillis> {
        self.0.finished_at
    }

    /// Whether the same call may succeed later, without being changed.
    pub fn is_retryable(&self) -> bool {
        use ErrorKind::{MaybeCharged, NotAdmitted, Overloaded, RateLimited, Unreachable};
        matches!(self.0.kind, NotAdmitted | RateLimited | Overloaded | Unreachable | MaybeCharged)
    }

    /// Whether every further call would end the same way: key, credits, entitlement, account.
    pub fn ends_everything(&self) -> bool {
        use ErrorKind::{Key, NoCredits, NoEntitlement, Record};
        matches!(self.0.kind, Key | NoCredits | NoEntitlement | Record)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source.as_deref().map(|source| source as &(dyn StdError + 'static))
    }
}

impl ErrorKind {
    /// A short name for records, such as `rate_limited`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Settings => "settings",
            Self::TooLarge => "too_large",
            Self::BudgetReached => "budget_reached",
            Self::NotAdmitted => "not_admitted",
            Self::Record => "record",
            Self::NotRecorded => "not_recorded",
            Self::RateLimited => "rate_limited",
            Self::Overloaded => "overloaded",
            Self::Unreachable => "unreachable",
            Self::MaybeCharged => "maybe_charged",
            Self::Key => "key",
            Self::NoCredits => "no_credits",
            Self::NoEntitlement => "no_entitlement",
            Self::Rejected => "rejected",
            Self::BadAnswer => "bad_answer",
        }
    }
}
