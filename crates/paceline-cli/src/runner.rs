//! The loop that keeps rows going: starts them, writes them, and knows when to stop.
//!
//! Invariant: a row is written once, or is still to do. Rows that wait are bounded by
//! `--max-in-flight`.

use std::collections::VecDeque;
use std::iter::Take;
use std::sync::Arc;
use std::time::Duration;

use paceline::budget::Job;
use paceline::{Client, Error, ErrorKind};
use paceline_core::UnixMillis;
use tokio::task::JoinSet;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval, sleep, sleep_until, timeout};

use crate::args::RunArgs;
use crate::elsewhere::{Elsewhere, LOOK_EVERY};
use crate::error::{
    EXIT_BUDGET, EXIT_DONE, EXIT_FAILED_ROWS, EXIT_INTERRUPTED, EXIT_STOPPED, UserError, warn,
};
use crate::input::{Input, Row, Rows};
use crate::interrupts::Interrupts;
use crate::output::{Origin, Output};
use crate::pause::Pause;
use crate::progress::Progress;
use crate::row::{Finished, Settings};
use crate::tally::Tally;

/// A run under way.
#[derive(Debug)]
pub(crate) struct Runner {
    rows: Take<Rows>,
    again: VecDeque<(Row, Tries)>,
    output: Output,
    origin: Origin,
    client: Client,
    settings: Arc<Settings>,
    pub(crate) tally: Arc<Tally>,
    tasks: JoinSet<(Finished, Tries)>,
    most_at_once: usize,
    max_failures: u64,
    max_outage: Duration,
    quiet: bool,
    outage: Option<Outage>,
    elsewhere: Option<Elsewhere>,
    /// All the rows that are to be run, to be estimated anew.
    pub(crate) job: Job,
    waits_for_budget: bool,
    pause: Option<Pause>,
    /// The last period that was said to be waited for.
    said_until: Option<UnixMillis>,
    pub(crate) counts: RowCounts,
    /// The first failures, while they are all alike and nothing has succeeded.
    alike: Option<(String, u64)>,
    pub(crate) errors: Vec<(String, u64, String)>,
}

/// Rows by what became of them.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct RowCounts {
    pub(crate) total: u64,
    pub(crate) done: u64,
    pub(crate) failed: u64,
    pub(crate) skipped: u64,
}

/// How often a row was started, by which its calls are named, and how often it failed in passing ways.
#[derive(Clone, Copy, Debug)]
struct Tries {
    started: u32,
    failed: u32,
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Finished,
    FailedRows,
    TooManyFailures,
    /// Why, and when the budget begins anew.
    Budget(String, Option<UnixMillis>),
    Stopped(String),
    Interrupted,
}

/// The server does not answer: one probe at a time.
#[derive(Debug)]
struct Outage {
    since: Instant,
    next_probe: Instant,
    pause: Duration,
}

/// So many failures, all alike and nothing else, end a run.
const ALIKE: u64 = 20;
/// A row that fails so often in passing ways while others succeed has failed for good.
const TRIES: u32 = 4;
/// Error groups kept for the summary.
const GROUPS: usize = 50;
/// How long in-flight rows may take after an interrupt.
const GRACE: Duration = Duration::from_secs(30);
const PROBE_MOST: Duration = Duration::from_secs(30);

impl End {
    pub(crate) const fn exit_code(&self) -> u8 {
        match self {
            Self::Finished => EXIT_DONE,
            Self::FailedRows | Self::TooManyFailures => EXIT_FAILED_ROWS,
            Self::Budget(..) => EXIT_BUDGET,
            Self::Stopped(_) => EXIT_STOPPED,
            Self::Interrupted => EXIT_INTERRUPTED,
        }
    }
}

impl Runner {
    pub(crate) fn new(
        args: &RunArgs,
        input: &Input,
        output: Output,
        origin: Origin,
        client: Client,
        settings: Settings,
        tally: Arc<Tally>,
    ) -> Result<Self, UserError> {
        let most = args.limit.map_or(u64::MAX, Into::into);
        let rows = input.read()?.take(usize::try_from(most).unwrap_or(usize::MAX));
        let counts = RowCounts { total: input.rows().min(most), ..RowCounts::default() };
        let at_once = usize::try_from(args.max_in_flight.get()).unwrap_or(usize::MAX);
        Ok(Self {
            rows,
            again: VecDeque::new(),
            output,
            origin,
            client,
            settings: Arc::new(settings),
            tally,
            tasks: JoinSet::new(),
            // As many again may wait, so that whoever leaves is followed at once.
            most_at_once: at_once.saturating_mul(2).min(20_000),
            max_failures: args.max_failures.unwrap_or(u64::MAX),
            max_outage: args.max_outage,
            quiet: args.quiet,
            outage: None,
            elsewhere: None,
            job: Job::new(),
            waits_for_budget: args.budgets.wait_for_budget,
            pause: None,
            said_until: None,
            counts,
            alike: None,
            errors: Vec::new(),
        })
    }

    /// Has the ledger watched while it runs, if there is one, and says what the job will come to.
    pub(crate) fn watch(&mut self, elsewhere: Option<Elsewhere>, job: Job) {
        self.elsewhere = elsewhere;
        self.job = job;
    }

    /// Runs to the end.
    ///
    /// # Errors
    /// Where the input changed.
    pub(crate) async fn run(&mut self) -> Result<End, UserError> {
        let mut progress = Progress::new(self.quiet);
        let mut interrupts = Interrupts::listen();
        let mut tick = ticks(progress.period()).await;
        let mut look = ticks(LOOK_EVERY).await;
        let end = loop {
            let more = self.fill()?;
            if self.tasks.is_empty() && !more {
                break None;
            }
            let probe = self.outage.as_ref().map(|outage| outage.next_probe);
            let probing = async {
                match probe {
                    Some(at) => sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            let rest = self.pause.map(|pause| pause.rest(crate::time::now()));
            let end = tokio::select! {
                Some(finished) = self.tasks.join_next() => self.take(finished)?,
                () = probing, if self.tasks.is_empty() && rest.is_none() => None,
                () = sleep(rest.unwrap_or_default()), if rest.is_some() => None,
                _ = look.tick(), if self.elsewhere.is_some() => self.look(),
                _ = tick.tick() => {
                    progress.show(&self.counts, &self.tally, &self.client, &self.job);
                    None
                }
                () = interrupts.next() => Some(End::Interrupted),
            };
            if end.is_some() {
                break end;
            }
        };
        progress.clear();
        if let Some(end) = &end {
            self.wind_down(end, &mut interrupts).await?;
        }
        let aside = self.output.rescue();
        self.counts.done -= aside.done;
        self.counts.failed -= aside.failed;
        let failed = self.counts.failed > 0;
        Ok(end.unwrap_or(if failed { End::FailedRows } else { End::Finished }))
    }

    /// Looks at the ledger: what others have spent counts from now on, and those who wait for it are
    /// tried again. Where it can't be read no budget can be kept, so the run is over.
    fn look(&mut self) -> Option<End> {
        let now = crate::time::now();
        let elsewhere = self.elsewhere.as_mut()?;
        // Reading takes some microseconds, and longer where there is much.
        match tokio::task::block_in_place(|| elsewhere.look(&self.client, now)) {
            Ok(is_new) => {
                let is_over = is_new || !elsewhere.are_in_flight(now);
                self.pause.take_if(|pause| *pause == Pause::Others && is_over);
                None
            }
            Err(error) => Some(End::Stopped(format!("{error}; {}", error.hint()))),
        }
    }

    /// Starts rows up to the bound; `false` where none are left.
    fn fill(&mut self) -> Result<bool, UserError> {
        self.pause.take_if(|pause| pause.is_over(crate::time::now()));
        if self.pause.is_some() {
            return Ok(true);
        }
        if let Some(outage) = &self.outage {
            let may_probe = self.tasks.is_empty() && Instant::now() >= outage.next_probe;
            if may_probe && let Some((row, tries)) = self.again.pop_front() {
                self.start(row, tries);
            }
            return Ok(true);
        }
        while self.tasks.len() < self.most_at_once {
            if let Some((row, tries)) = self.again.pop_front() {
                self.start(row, tries);
                continue;
            }
            let Some(row) = self.rows.next() else { return Ok(false) };
            let row = row?;
            if self.output.is_done(&row.id) {
                self.counts.skipped += 1;
            } else if self.output.has_failed(&row.id) {
                self.counts.failed += 1;
            } else {
                self.start(row, Tries { started: 0, failed: 0 });
            }
        }
        Ok(true)
    }

    fn start(&mut self, row: Row, tries: Tries) {
        let (client, settings) = (self.client.clone(), Arc::clone(&self.settings));
        let tally = Arc::clone(&self.tally);
        let tries = Tries { started: tries.started + 1, ..tries };
        self.tasks
            .spawn(async move { (settings.run(&client, &tally, row, tries.started).await, tries) });
    }

    /// Takes a finished row: writes it, or puts it back; says whether the run is over.
    fn take(
        &mut self,
        finished: Result<(Finished, Tries), tokio::task::JoinError>,
    ) -> Result<Option<End>, UserError> {
        let (finished, tries) = match finished {
            Ok(finished) => finished,
            Err(error) if error.is_cancelled() => return Ok(None),
            Err(error) => return Err(UserError::usage("a row broke the program").cause(error)),
        };
        if let Some(call) = &finished.last_call {
            self.tally.taken(call);
        }
        let Err(error) = &finished.result else {
            self.counts.done += 1;
            self.alike = Some((String::new(), 0));
            if self.outage.take().is_some() {
                warn("the server answers again");
            }
            return Ok(self.write(&finished));
        };
        if error.kind() == ErrorKind::BudgetReached {
            let (why, renews) = (error.to_string(), error.renews_at());
            self.pause = self.pause_for(&why, renews);
            self.again.push_back((finished.row, tries));
            return Ok(self.pause.is_none().then_some(End::Budget(why, renews)));
        }
        if error.ends_everything() {
            return Ok(Some(End::Stopped(describe(error))));
        }
        let tries = Tries { failed: tries.failed + 1, ..tries };
        let others_succeed = self.outage.is_none() && tries.failed >= TRIES;
        if error.is_retryable() && !others_succeed {
            let end = self.suffer(error);
            self.again.push_back((finished.row, tries));
            return Ok(end);
        }
        let (message, status) = (describe(error), error.status());
        self.counts.failed += 1;
        self.group(&message, &finished.row.id);
        Ok(self.write(&finished).or_else(|| self.judge_failure(&message, status)))
    }

    /// Writes a row. Where there is no room the run is over; the row is kept until its end.
    fn write(&mut self, finished: &Finished) -> Option<End> {
        let error = self.output.append(&finished.out_row(), self.origin).err()?;
        Some(End::Stopped(error.in_one_line()))
    }

    /// A budget refuses: whether there is something to wait for.
    fn pause_for(&mut self, why: &str, renews: Option<UnixMillis>) -> Option<Pause> {
        let now = crate::time::now();
        let others = self.elsewhere.as_ref().is_some_and(|others| others.are_in_flight(now));
        let pause = Pause::after(renews, others, self.waits_for_budget);
        if let Some(Pause::Until(moment)) = pause
            && self.said_until != Some(moment)
        {
            self.said_until = Some(moment);
            warn(format!("{why}; waiting until {}", crate::time::rfc3339(moment)));
        }
        pause
    }

    /// Something passing went wrong: pause and probe, until it has lasted too long.
    fn suffer(&mut self, error: &Error) -> Option<End> {
        let now = Instant::now();
        let Some(outage) = &mut self.outage else {
            // A refused rate has been waited for already; it is no outage.
            if error.kind() != ErrorKind::RateLimited {
                warn(format!("{}; pausing, and trying one row at a time", describe(error)));
                let pause = Duration::from_secs(1);
                self.outage = Some(Outage { since: now, next_probe: now + pause, pause });
            }
            return None;
        };
        if now >= outage.next_probe {
            outage.pause = (outage.pause * 2).min(PROBE_MOST);
            outage.next_probe = now + outage.pause;
        }
        let lasted = now - outage.since;
        (lasted >= self.max_outage).then(|| {
            let lasted = crate::time::spoken(lasted);
            End::Stopped(format!("no good answer for {lasted}: {}", describe(error)))
        })
    }

    fn judge_failure(&mut self, message: &str, status: Option<u16>) -> Option<End> {
        if self.counts.failed > self.max_failures {
            return Some(End::TooManyFailures);
        }
        // Too large a row says nothing of the next; a refusal by the server does.
        status?;
        let (first, count) = self.alike.get_or_insert_with(|| (message.to_owned(), 0));
        if first != message {
            self.alike = Some((String::new(), 0));
            return None;
        }
        *count += 1;
        (*count >= ALIKE)
            .then(|| End::Stopped(format!("the first {ALIKE} rows failed alike: {message}")))
    }

    fn group(&mut self, message: &str, id: &str) {
        if let Some((_, count, _)) = self.errors.iter_mut().find(|(group, ..)| group == message) {
            *count += 1;
        } else if self.errors.len() < GROUPS {
            self.errors.push((message.to_owned(), 1, id.to_owned()));
        }
    }

    /// No new sends; what is in flight may finish, within the grace time.
    async fn wind_down(&mut self, end: &End, interrupts: &mut Interrupts) -> Result<(), UserError> {
        self.client.close();
        if *end == End::Interrupted {
            warn("interrupted: letting what is in flight finish; once more stops at once");
        }
        let drain = async {
            loop {
                // A call that is settled is not in flight any more, and its answer may still be on
                // the way here: it was paid for, and must not be lost.
                let in_flight = self.client.limits().map_or(0, |limits| limits.in_flight);
                if (in_flight == 0 && !self.tally.is_owed()) || self.tasks.is_empty() {
                    return Ok(());
                }
                // A look now and then, because those that only wait never end.
                if let Ok(Some(finished)) =
                    timeout(Duration::from_millis(50), self.tasks.join_next()).await
                {
                    self.take(finished)?;
                }
            }
        };
        let drained = tokio::select! {
            drained = timeout(GRACE, drain) => drained.unwrap_or(Ok(())),
            () = interrupts.next() => Ok(()),
        };
        // Rows that were settled and not yet taken.
        while let Some(finished) = self.tasks.try_join_next() {
            self.take(finished)?;
        }
        self.tasks.abort_all();
        while self.tasks.join_next().await.is_some() {}
        drained
    }

    /// Rows neither done nor failed.
    pub(crate) fn left(&self) -> u64 {
        let RowCounts { total, done, failed, skipped } = self.counts;
        total.saturating_sub(done + failed + skipped)
    }
}

/// Ticks from a period after now on; those that nobody was there for are left out.
async fn ticks(period: Duration) -> Interval {
    let mut ticks = interval(period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    ticks.tick().await;
    ticks
}

/// An error in one line, with its status and its cause.
fn describe(error: &Error) -> String {
    let mut text = error.to_string();
    if let Some(source) = std::error::Error::source(error) {
        let source = source.to_string();
        if !text.contains(&source) {
            text = format!("{text}: {source}");
        }
    }
    match error.status() {
        Some(status) => format!("{text} (status {status})"),
        None => text,
    }
}
