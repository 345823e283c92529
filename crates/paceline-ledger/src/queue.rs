//! What waits to be written, and who waits for it.
//!
//! It writes nothing itself. Invariants: jobs are taken in the order in which they came; an intent
//! waits where the queue is full, and an outcome never does, as there is at most one for every
//! intent; once writing has failed nobody waits any more.
//!
//! An intent is taken once the writer is free and the last commit is [`SPACING`] ago. An outcome,
//! which nobody waits for, waits up to [`OUTCOME_DELAY`] for an intent to be committed with.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::{Duration, Instant};

use paceline_budget::{Intent, Outcome, RecordError};

use crate::error::LedgerError;

/// How many jobs may wait before intents wait for room.
const MOST_WAITING: usize = 4_096;

/// How many jobs are committed at once at most.
const MOST_IN_GROUP: usize = 1_024;

/// How far apart commits are at least. A commit writes some six pages however many rows it has, and
/// pages are what has to be folded, so fewer of them keep the longest waits short.
const SPACING: Duration = Duration::from_millis(1);

/// How long an outcome waits at most for others to be committed with. A program that is killed
/// meanwhile finds the attempt without an outcome, and counts it at what was reserved.
const OUTCOME_DELAY: Duration = Duration::from_millis(5);

/// Something to be written.
#[derive(Debug)]
pub(crate) enum Job {
    Intent(Box<Intent>, Ticket),
    Outcome(Box<Outcome>),
    /// Done once everything before it is committed.
    Flush(Ticket),
}

/// The queue between those who record and the one who writes.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    state: Mutex<State>,
    filled: Condvar,
}

#[derive(Debug, Default)]
struct State {
    jobs: VecDeque<Job>,
    /// Somebody waits for one of them.
    is_urgent: bool,
    for_room: Vec<Waker>,
    /// Why nothing is taken any more.
    ended: Option<LedgerError>,
    /// Outcomes that could not be written.
    unkept: Vec<Outcome>,
    is_closing: bool,
    /// Since when another program has kept the file to itself.
    held_up: Option<Instant>,
}

impl Queue {
    /// An outcome; it never waits.
    ///
    /// # Errors
    /// Where nothing is written any more. The outcome is kept in memory until the ledger is
    /// closed, unless it is closed already.
    pub(crate) fn push_outcome(&self, outcome: Outcome) -> Result<(), LedgerError> {
        let mut state = self.lock();
        if let Some(error) = state.ended.clone() {
            state.unkept.push(outcome);
            return Err(error);
        }
        state.jobs.push_back(Job::Outcome(Box::new(outcome)));
        // The first one sets the writer's alarm, and the last that fits ends its sleep.
        let tell = matches!(state.jobs.len(), 1 | MOST_IN_GROUP);
        drop(state);
        if tell {
            self.filled.notify_one();
        }
        Ok(())
    }

    /// Waits on this thread until everything before is committed.
    pub(crate) fn flush(&self) -> Result<(), LedgerError> {
        let ticket = Ticket::default();
        {
            let mut state = self.lock();
            if let Some(error) = &state.ended {
                return Err(error.clone());
            }
            state.jobs.push_back(Job::Flush(ticket.clone()));
            state.is_urgent = true;
        }
        self.filled.notify_one();
        ticket.wait()
    }

    /// What to write next; waits for it, where the last commit began at `last`. `None` where the
    /// queue is closed and empty.
    pub(crate) fn next_group(&self, last: Instant) -> Option<Vec<Job>> {
        let mut state = self.lock();
        let mut alarm = None;
        while !state.is_urgent && !state.is_closing && state.jobs.len() < MOST_IN_GROUP {
            if state.jobs.is_empty() {
                state = self.filled.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            let alarm = *alarm.get_or_insert_with(|| Instant::now() + OUTCOME_DELAY);
            let Some(rest) = alarm.checked_duration_since(Instant::now()) else { break };
            let waited = self.filled.wait_timeout(state, rest);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        if state.jobs.is_empty() {
            return None;
        }
        let rest = SPACING.saturating_sub(last.elapsed());
        if !rest.is_zero() && state.jobs.len() < MOST_IN_GROUP {
            // Asleep without the lock, and not to be woken by each that comes.
            drop(state);
            thread::sleep(rest);
            state = self.lock();
        }
        let most = state.jobs.len().min(MOST_IN_GROUP);
        let group = state.jobs.drain(..most).collect();
        state.is_urgent &= !state.jobs.is_empty();
        let wake = std::mem::take(&mut state.for_room);
        drop(state);
        wake.into_iter().for_each(Waker::wake);
        Some(group)
    }

    /// Another program keeps the file to itself since then, or not any more.
    pub(crate) fn set_held_up(&self, since: Option<Instant>) {
        self.lock().held_up = since;
    }

    /// For how long another program has kept the file to itself, while it does.
    pub(crate) fn held_up(&self) -> Option<Duration> {
        self.lock().held_up.map(|since| since.elapsed())
    }

    pub(crate) fn is_closing(&self) -> bool {
        self.lock().is_closing
    }

    /// Everything that is queued is still written, and then nothing more.
    pub(crate) fn close(&self) {
        self.lock().is_closing = true;
        self.filled.notify_one();
    }

    /// Writing is over: whoever waits is told, and outcomes are put aside.
    pub(crate) fn end(&self, error: &LedgerError, group: Vec<Job>) {
        let mut state = self.lock();
        state.ended.get_or_insert_with(|| error.clone());
        let left = std::mem::take(&mut state.jobs);
        let wake = std::mem::take(&mut state.for_room);
        let mut tickets = Vec::new();
        for job in group.into_iter().chain(left) {
            match job {
                Job::Outcome(outcome) => state.unkept.push(*outcome),
                Job::Intent(_, ticket) | Job::Flush(ticket) => tickets.push(ticket),
            }
        }
        drop(state);
        tickets.iter().for_each(|ticket| ticket.resolve(Err(error.clone())));
        wake.into_iter().for_each(Waker::wake);
    }

    /// Takes the outcomes that could not be written.
    pub(crate) fn take_unkept(&self) -> Vec<Outcome> {
        std::mem::take(&mut self.lock().unkept)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues an intent, or keeps a waker for when there is room.
    fn try_push(&self, intent: &Intent, waker: &Waker) -> Result<Option<Ticket>, LedgerError> {
        let mut state = self.lock();
        if let Some(error) = &state.ended {
            return Err(error.clone());
        }
        if state.jobs.len() >= MOST_WAITING {
            state.for_room.push(waker.clone());
            return Ok(None);
        }
        let ticket = Ticket::default();
        ticket.wake(waker);
        state.jobs.push_back(Job::Intent(Box::new(intent.clone()), ticket.clone()));
        state.is_urgent = true;
        drop(state);
        self.filled.notify_one();
        Ok(Some(ticket))
    }
}

/// Where the answer to one job arrives.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ticket(Arc<(Mutex<Answer>, Condvar)>);

#[derive(Debug, Default)]
struct Answer {
    result: Option<Result<(), LedgerError>>,
    waker: Option<Waker>,
}

impl Ticket {
    /// The job is done, or never will be. The first answer stands.
    pub(crate) fn resolve(&self, result: Result<(), LedgerError>) {
        let mut answer = self.lock();
        answer.result.get_or_insert(result);
        let waker = answer.waker.take();
        drop(answer);
        self.0.1.notify_all();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Answer> {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wake(&self, waker: &Waker) {
        self.lock().waker = Some(waker.clone());
    }

    fn poll(&self, waker: &Waker) -> Poll<Result<(), LedgerError>> {
        let mut answer = self.lock();
        match answer.result.clone() {
            Some(result) => Poll::Ready(result),
            None => {
                answer.waker = Some(waker.clone());
                Poll::Pending
            }
        }
    }

    fn wait(&self) -> Result<(), LedgerError> {
        let mut answer = self.lock();
        loop {
            if let Some(result) = answer.result.clone() {
                return result;
            }
            answer = self.0.1.wait(answer).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// Waits until an intent is committed. It is queued at the first poll, and no runtime is needed.
#[derive(Debug)]
pub(crate) struct Commit<'a> {
    queue: &'a Queue,
    intent: &'a Intent,
    ticket: Option<Ticket>,
}

impl<'a> Commit<'a> {
    pub(crate) const fn new(queue: &'a Queue, intent: &'a Intent) -> Self {
        Self { queue, intent, ticket: None }
    }
}

impl Future for Commit<'_> {
    type Output = Result<(), RecordError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let polled = match &self.ticket {
            Some(ticket) => ticket.poll(context.waker()),
            None => match self.queue.try_push(self.intent, context.waker()) {
                Ok(ticket) => {
                    self.ticket = ticket;
                    Poll::Pending
                }
                Err(error) => Poll::Ready(Err(error)),
            },
        };
        polled.map_err(|error| error.to_record_error())
    }
}
