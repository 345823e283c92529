//! Many calls at once, and how long each intent waits.
//!
//! A call is an intent, some time in flight, and an outcome; nothing is sent anywhere. Without a
//! ledger the same calls go through a record that is ready at once, and through one that another
//! thread answers without writing anything: what that takes is the machine's, not the ledger's.

use std::future;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use paceline_budget::{AttemptId, Ending, Intent, Outcome, Record, RecordError, Recorded};
use paceline_core::{Money, UnixMillis, Usage};
use paceline_ledger::{Ledger, Range, Reader, RunInfo};
use tokio::sync::oneshot;
use tokio::task::JoinSet;

/// So many attempts, so many of them at once.
#[derive(Clone, Copy, Debug)]
pub(super) struct Load {
    pub(super) at_once: u64,
    pub(super) attempts: u64,
}

/// Who else uses the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Others {
    None,
    /// One that adds up all rows, again and again.
    Reader,
    /// One that writes as much.
    Writer,
}

/// How long each intent waited.
#[derive(Debug)]
pub(super) struct Waits(Vec<Duration>);

/// A record that keeps nothing.
#[derive(Debug)]
struct Nothing;

impl Record for Nothing {
    fn intent<'a>(&'a self, _intent: &'a Intent) -> Recorded<'a> {
        Box::pin(future::ready(Ok(())))
    }

    fn outcome(&self, _outcome: &Outcome) -> Result<(), RecordError> {
        Ok(())
    }
}

/// A record that another thread answers, and that keeps nothing.
#[derive(Debug)]
struct HandOver(mpsc::Sender<oneshot::Sender<()>>);

impl HandOver {
    fn start() -> Self {
        let (ask, asked) = mpsc::channel::<oneshot::Sender<()>>();
        // It ends with the record. Whoever does not wait any more is not told.
        std::thread::spawn(move || {
            for answer in asked {
                let _ = answer.send(());
            }
        });
        Self(ask)
    }
}

impl Record for HandOver {
    fn intent<'a>(&'a self, _intent: &'a Intent) -> Recorded<'a> {
        Box::pin(async {
            let (answer, answered) = oneshot::channel();
            let gone = |_| RecordError::new("the other thread is gone");
            self.0.send(answer).map_err(|_| RecordError::new("the other thread is gone"))?;
            answered.await.map_err(gone)
        })
    }

    fn outcome(&self, _outcome: &Outcome) -> Result<(), RecordError> {
        Ok(())
    }
}

/// Where attempts are recorded.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kept<'a> {
    /// In a ledger, which others use as well.
    Ledger(&'a Path, Others),
    /// By another thread that writes nothing.
    HandedOver,
    /// Nowhere.
    Nowhere,
}

impl Waits {
    /// The wait that this share of all intents does not pass.
    pub(super) fn quantile_ms(&self, share: f64) -> f64 {
        let last = self.0.len().saturating_sub(1);
        let at = ((self.0.len() as f64 * share).ceil() as usize).saturating_sub(1).min(last);
        self.0.get(at).map_or(f64::NAN, |wait| wait.as_secs_f64() * 1e3)
    }
}

impl Load {
    /// As fast as they go; attempts a second, the last commit included.
    pub(super) fn flat_out(&self, path: &Path) -> Result<f64, String> {
        let ledger = Arc::new(open(path)?);
        let next = Arc::new(AtomicU64::new(0));
        let attempts = self.attempts;
        let begun = Instant::now();
        runtime()?.block_on(async {
            let mut senders = JoinSet::new();
            for _ in 0..self.at_once {
                let (ledger, next) = (Arc::clone(&ledger), Arc::clone(&next));
                senders.spawn(async move {
                    loop {
                        let number = next.fetch_add(1, Ordering::Relaxed);
                        if number >= attempts {
                            return Ok::<_, RecordError>(());
                        }
                        ledger.intent(&intent("call", number)).await?;
                        ledger.outcome(&outcome("call", number))?;
                    }
                });
            }
            finish(senders).await
        })?;
        ledger.flush().map_err(|error| error.to_string())?;
        let rate = attempts as f64 / begun.elapsed().as_secs_f64();
        ledger.close().map_err(|error| error.to_string())?;
        all_there(path, attempts)?;
        Ok(rate)
    }
}

/// Attempts that begin evenly spaced and last a fifth of a second.
pub(super) fn at_a_pace(kept: Kept<'_>, per_second: u64, attempts: u64) -> Result<Waits, String> {
    let mut waits = match kept {
        Kept::Ledger(path, others) => beside(path, others, per_second, attempts)?,
        Kept::HandedOver => {
            paced(&(Arc::new(HandOver::start()) as Arc<dyn Record>), per_second, attempts)?
        }
        Kept::Nowhere => paced(&(Arc::new(Nothing) as Arc<dyn Record>), per_second, attempts)?,
    };
    waits.0.sort_unstable();
    Ok(waits)
}

fn beside(path: &Path, others: Others, per_second: u64, attempts: u64) -> Result<Waits, String> {
    let ledger = Arc::new(open(path)?);
    let record = Arc::clone(&ledger) as Arc<dyn Record>;
    let over = AtomicBool::new(false);
    let waits = std::thread::scope(|scope| {
        scope.spawn(|| other(path, others, per_second, &over));
        let waits = paced(&record, per_second, attempts);
        over.store(true, Ordering::Release);
        waits
    })?;
    ledger.close().map_err(|error| error.to_string())?;
    if others != Others::Writer {
        all_there(path, attempts)?;
    }
    Ok(waits)
}

fn paced(record: &Arc<dyn Record>, per_second: u64, attempts: u64) -> Result<Waits, String> {
    runtime()?.block_on(async {
        let mut calls = JoinSet::new();
        let begun = tokio::time::Instant::now();
        for number in 0..attempts {
            let at = begun + Duration::from_micros(number * 1_000_000 / per_second);
            tokio::time::sleep_until(at).await;
            let record = Arc::clone(record);
            calls.spawn(async move {
                let intent = intent("call", number);
                let begun = Instant::now();
                record.intent(&intent).await?;
                let waited = begun.elapsed();
                tokio::time::sleep(Duration::from_millis(200)).await;
                record.outcome(&outcome("call", number))?;
                Ok::<_, RecordError>(waited)
            });
        }
        finish(calls).await.map(Waits)
    })
}

/// Uses the file from another connection until it is over.
fn other(path: &Path, others: Others, per_second: u64, over: &AtomicBool) {
    let pace = Duration::from_micros(1_000_000 / per_second);
    match others {
        Others::None => {}
        Others::Reader => {
            let reader = Reader::open(path).expect("it can be read while it is written");
            while !over.load(Ordering::Acquire) {
                reader.totals(&Range::default()).expect("added up");
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        Others::Writer => {
            let other = open(path).expect("several may write");
            let mut number = 0;
            while !over.load(Ordering::Acquire) {
                super::scene::wait(other.intent(&intent("other", number))).expect("recorded");
                other.outcome(&outcome("other", number)).expect("taken");
                number += 1;
                std::thread::sleep(pace);
            }
        }
    }
}

async fn finish<T: 'static>(mut tasks: JoinSet<Result<T, RecordError>>) -> Result<Vec<T>, String> {
    let mut done = Vec::new();
    while let Some(task) = tasks.join_next().await {
        let result = task.map_err(|error| error.to_string())?;
        done.push(result.map_err(|error| error.to_string())?);
    }
    Ok(done)
}

fn open(path: &Path) -> Result<Ledger, String> {
    Ledger::open(path, &RunInfo::new("bench")).map_err(|error| error.to_string())
}

fn all_there(path: &Path, attempts: u64) -> Result<(), String> {
    let reader = Reader::open(path).map_err(|error| error.to_string())?;
    let totals = reader.totals(&Range::default()).map_err(|error| error.to_string())?;
    if totals.answered == attempts && totals.attempts == attempts {
        return Ok(());
    }
    Err(format!("{} of {attempts} attempts are in {}", totals.answered, path.display()))
}

fn runtime() -> Result<tokio::runtime::Runtime, String> {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_time().build().map_err(|why| why.to_string())
}

fn id(name: &str, number: u64) -> AttemptId {
    AttemptId::new(format!("{name}-{number:07}"), 1)
}

/// Intents are half a second apart, so that a million of them are six days.
fn moment(number: u64) -> UnixMillis {
    UnixMillis::new(1_795_000_000_000 + i64::try_from(number).unwrap_or(i64::MAX) * 500)
}

fn intent(name: &str, number: u64) -> Intent {
    Intent::new(id(name, number), "grok-4.3".into(), moment(number))
        .total_tokens(2_000)
        .cost(Money::from_ticks(40_000_000))
        .tag("bench".into())
}

fn outcome(name: &str, number: u64) -> Outcome {
    let outcome = Outcome::new(id(name, number), moment(number), Ending::Answered);
    let outcome = outcome.status(200).cost(Money::from_ticks(12_345_600));
    match Usage::new(400, 900) {
        Ok(usage) => outcome.usage(usage),
        Err(_) => outcome,
    }
}
