//! What happens to calls, for whoever wants to watch: a bounded stream of events, and metrics.
//!
//! It holds no prompt, no answer and no key. Invariant: nothing is made where nobody watches, and
//! nobody who watches can hold up a call: whoever is too slow loses the oldest, and is told how many.

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use paceline_budget::Ending;
use paceline_core::{Amount, Dimension, LimitKey, ModelId, Money, Observation, UnixMillis, Usage};
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;

use crate::call::Call;
use crate::client::wall_now;
use crate::error::ErrorKind;

#[cfg(feature = "metrics")]
mod metrics;

/// Something that happened, to a call or to a limit.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Event {
    /// When.
    pub at: UnixMillis,
    /// The name of the call; `None` for what concerns all of them.
    pub call: Option<Arc<str>>,
    /// Which attempt of it, from 1; 0 for what concerns all.
    pub attempt: u32,
    /// The model that is called.
    pub model: Option<ModelId>,
    /// What happened.
    pub kind: EventKind,
}

/// What happened. A call goes through `Estimated`, perhaps `Queued`, `Admitted`, `Sent`, `Head`,
/// `Settled`; a retry begins again at `Estimated` with the next attempt.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum EventKind {
    /// What it will probably use is known.
    #[non_exhaustive]
    Estimated {
        /// Tokens of input.
        input: Amount,
        /// Tokens of output, reasoning included.
        output: Amount,
        /// Ticks of money, where the model has a price.
        cost: Option<Amount>,
    },
    /// It can't leave yet, and waits for its turn.
    Queued,
    /// The limits and budgets admit it.
    #[non_exhaustive]
    Admitted {
        /// How long it has waited for that.
        waited: Duration,
    },
    /// The request is leaving.
    Sent,
    /// The head of the answer is there.
    #[non_exhaustive]
    Head {
        /// Its status.
        status: u16,
        /// How long after the sending.
        after: Duration,
    },
    /// The attempt is over, and what it used is counted.
    #[non_exhaustive]
    Settled {
        /// How it ended.
        ending: Ending,
        /// The status of the answer, where there was one.
        status: Option<u16>,
        /// What it used, where that is known.
        usage: Option<Usage>,
        /// What it cost, or what is reckoned for it where nobody knows.
        cost: Option<Money>,
        /// How long after the sending; `None` where it was never sent.
        after: Option<Duration>,
    },
    /// It will be tried again.
    #[non_exhaustive]
    Retried {
        /// Why.
        kind: ErrorKind,
        /// In how long it asks for its turn again.
        wait: Duration,
    },
    /// A limit admits nothing for a while, for anybody.
    #[non_exhaustive]
    Paused {
        /// Whose limit.
        key: LimitKey,
        /// Of what; `None` for all dimensions.
        dimension: Option<Dimension>,
        /// For how long.
        wait: Duration,
    },
    /// Another limit is in force, or one is not any more.
    LimitChanged(
        /// Which.
        Observation,
    ),
    /// Nothing more is sent: no money, a bad key, or no account of it.
    #[non_exhaustive]
    Stopped {
        /// Why.
        kind: ErrorKind,
    },
}

impl EventKind {
    /// One word for it, such as `settled`.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Estimated { .. } => "estimated",
            Self::Queued => "queued",
            Self::Admitted { .. } => "admitted",
            Self::Sent => "sent",
            Self::Head { .. } => "head",
            Self::Settled { .. } => "settled",
            Self::Retried { .. } => "retried",
            Self::Paused { .. } => "paused",
            Self::LimitChanged(_) => "limit_changed",
            Self::Stopped { .. } => "stopped",
        }
    }
}

/// The events of a client from the moment on at which it was asked for them; see
/// [`Client::events`](crate::Client::events).
pub struct Events {
    receiver: broadcast::Receiver<Event>,
    missed: u64,
}

impl Events {
    /// So many events wait for a watcher at most.
    pub const MOST: usize = 1_024;

    /// The next event; `None` once the last clone of the client is gone.
    ///
    /// # Cancel safety
    /// No event is lost where the future is dropped.
    pub async fn next(&mut self) -> Option<Event> {
        loop {
            match self.receiver.recv().await {
                Ok(event) => return Some(event),
                Err(RecvError::Lagged(missed)) => self.missed = self.missed.saturating_add(missed),
                Err(RecvError::Closed) => return None,
            }
        }
    }

    /// The next event that is there already.
    pub fn try_next(&mut self) -> Option<Event> {
        loop {
            match self.receiver.try_recv() {
                Ok(event) => return Some(event),
                Err(broadcast::error::TryRecvError::Lagged(missed)) => {
                    self.missed = self.missed.saturating_add(missed);
                }
                Err(_) => return None,
            }
        }
    }

    /// How many events were lost so far because they were not fetched in time.
    pub const fn missed(&self) -> u64 {
        self.missed
    }
}

impl fmt::Debug for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Events").field("missed", &self.missed).finish_non_exhaustive()
    }
}

/// Whom the events of a client are told.
#[derive(Debug, Default)]
pub(crate) struct Told {
    /// Made when somebody asks for events.
    sender: OnceLock<broadcast::Sender<Event>>,
}

impl Told {
    pub(crate) fn events(&self) -> Events {
        let sender = self.sender.get_or_init(|| broadcast::Sender::new(Events::MOST));
        Events { receiver: sender.subscribe(), missed: 0 }
    }

    /// Tells an event of a call's attempt, or of all.
    #[inline]
    pub(crate) fn tell(&self, of: Option<(&Call, u32)>, kind: impl FnOnce() -> EventKind) {
        let sender = self.sender.get().filter(|sender| sender.receiver_count() > 0);
        if cfg!(not(feature = "metrics")) && sender.is_none() {
            return;
        }
        self.tell_on(sender, of, kind());
    }

    #[cold]
    #[expect(clippy::unused_self, reason = "metrics are told of what it holds")]
    fn tell_on(
        &self,
        sender: Option<&broadcast::Sender<Event>>,
        of: Option<(&Call, u32)>,
        kind: EventKind,
    ) {
        #[cfg(feature = "metrics")]
        metrics::note(of.map(|(call, _)| call.shape.model()), &kind);
        let Some(sender) = sender else { return };
        let event = Event {
            at: wall_now(),
            call: of.map(|(call, _)| Arc::from(call.name.as_str())),
            attempt: of.map_or(0, |(_, attempt)| attempt),
            model: of.map(|(call, _)| call.shape.model().clone()),
            kind,
        };
        // Where the last watcher has just gone away, nobody misses it.
        sender.send(event).ok();
    }
}
