//! A process under load, killed at a random moment, and the judge of what it left.
//!
//! The process tells of every send by a line on its standard output, before the send counts; the
//! judge holds those lines against the file, those of all earlier kills included. What each call
//! reserves, costs and uses, and when, follows from its name, so that the judge knows every figure
//! without having seen the ledger write it. Budgets are restored from the file as a program that
//! starts does it, and have to stand where the judge says, in every scope and on every day.

use std::collections::{HashMap, HashSet};
use std::io::{BufRead, BufReader, Write};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::Duration;

use paceline_budget::{AttemptId, Budget, Budgets, Ending, Intent, Outcome, Period, Record, Spend};
use paceline_core::{LimitKey, Money, Tag, UnixMillis, Usage};
use paceline_ledger::{Attempt, Ledger, LedgerErrorKind, Range, Reader, RunInfo};

/// How many threads of a process send at once.
const SENDERS: u64 = 32;
/// Over how many days calls are spread; fewer than a budget remembers.
const DAYS: u64 = 4;
const DAY: i64 = 86_400_000;

/// The process: opens the ledger and sends until it is killed.
pub(crate) fn child(path: &Path) -> ! {
    let ledger = Ledger::open(path, &RunInfo::new("to be killed")).expect("opened");
    tell(&format!("run {}", ledger.run()));
    thread::scope(|scope| {
        for sender in 0..SENDERS {
            let ledger = &ledger;
            scope.spawn(move || {
                for number in (sender..).step_by(SENDERS as usize) {
                    send(ledger, number);
                }
            });
        }
    });
    unreachable!("it sends until it is killed")
}

fn send(ledger: &Ledger, number: u64) {
    wait(ledger.intent(&intent(number))).expect("recorded");
    tell(&format!("sent {number}"));
    if mixed(number, 1).is_multiple_of(4) {
        thread::sleep(Duration::from_micros(mixed(number, 2) % 800));
    }
    ledger.outcome(&outcome(number)).expect("taken");
    if mixed(number, 3).is_multiple_of(16) {
        ledger.flush().expect("committed");
        tell(&format!("kept {number}"));
    }
}

/// One line in one write, so that a kill leaves it whole or not at all.
fn tell(line: &str) {
    let mut out = std::io::stdout().lock();
    out.write_all(format!("\n{line}\n").as_bytes()).expect("somebody listens");
    out.flush().expect("somebody listens");
}

fn id(number: u64) -> AttemptId {
    AttemptId::new(format!("call-{number}"), 1 + (number % 2) as u32)
}

fn tag(number: u64) -> Tag {
    Tag::from(["red", "green", "blue"][(number % 3) as usize])
}

fn reserved(number: u64) -> i128 {
    i128::from(1_000_000 + mixed(number, 4) % 1_000_000)
}

fn cost(number: u64) -> i128 {
    match ending(number) {
        Ending::MaybeCharged => reserved(number),
        Ending::Refused => 0,
        _ => i128::from(mixed(number, 5) % 1_200_000),
    }
}

fn ending(number: u64) -> Ending {
    match mixed(number, 6) % 10 {
        0 => Ending::MaybeCharged,
        1 => Ending::Refused,
        _ => Ending::Answered,
    }
}

fn reserved_tokens(number: u64) -> u64 {
    100 + mixed(number, 7) % 100
}

/// What is used, where that is reported.
fn usage(number: u64) -> Option<Usage> {
    let total = 40 + mixed(number, 8) % 160;
    (ending(number) == Ending::Answered).then(|| Usage::new(40, total).expect("a usage"))
}

/// The last millisecond of one of the days, so that every outcome is of the next one.
fn sent_at(number: u64) -> i64 {
    (1 + (mixed(number, 9) % (DAYS - 1)).cast_signed()) * DAY - 1
}

const fn over_at(sent_at: i64) -> i64 {
    sent_at + 1
}

fn intent(number: u64) -> Intent {
    Intent::new(id(number), "grok-4.3".into(), UnixMillis::new(sent_at(number)))
        .tag(tag(number))
        .total_tokens(reserved_tokens(number))
        .cost(Money::from_ticks(reserved(number)))
}

fn outcome(number: u64) -> Outcome {
    let at = UnixMillis::new(over_at(sent_at(number)));
    let outcome =
        Outcome::new(id(number), at, ending(number)).cost(Money::from_ticks(cost(number)));
    match usage(number) {
        Some(usage) => outcome.usage(usage),
        None => outcome,
    }
}

/// SplitMix64 of two numbers.
fn mixed(number: u64, salt: u64) -> u64 {
    let mut z =
        number.wrapping_mul(0xBF58_476D_1CE4_E5B9) ^ salt.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// One file, and kills that vary by a seed.
#[derive(Debug)]
pub(crate) struct Scene {
    path: PathBuf,
    seed: u64,
    kills: u64,
    /// What the processes told, by their runs; none of it may ever be lost.
    told: HashMap<i64, Told>,
}

/// What was seen.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Seen {
    pub(crate) sent: u64,
    pub(crate) closed: u64,
    /// Sent, and without an outcome in the file.
    pub(crate) open: u64,
}

impl Seen {
    pub(crate) const fn add(&mut self, other: &Self) {
        self.sent += other.sent;
        self.closed += other.closed;
        self.open += other.open;
    }
}

impl Scene {
    pub(crate) fn new(path: PathBuf, seed: u64) -> Self {
        Self { path, seed, kills: 0, told: HashMap::new() }
    }

    /// Starts a process, kills it at a random moment, and judges what it left.
    pub(crate) fn kill(&mut self, mut command: Command) -> Seen {
        self.kills += 1;
        let chance = mixed(self.kills, self.seed);
        let mut process = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("it starts");
        let stdout = process.stdout.take().expect("piped");
        let (told_run, run_told) = std::sync::mpsc::channel();
        let listener = thread::spawn(move || listen(BufReader::new(stdout), &told_run));
        // Every fourth is killed while it starts, opening or making the file; the others send.
        if chance.is_multiple_of(4) {
            thread::sleep(Duration::from_micros(chance / 4 % 20_000));
        } else {
            run_told.recv().expect("it opened the ledger");
            thread::sleep(Duration::from_micros(chance / 4 % 60_000));
        }
        process.kill().expect("killed");
        let ended = process.wait().expect("over");
        let told = listener.join().expect("it listened");
        assert!(ended.code().is_none(), "it was killed and did not end by itself: {ended}");
        let run = told.run;
        if let Some(run) = run {
            let before = self.told.insert(run, told);
            assert!(before.is_none(), "run {run} is there twice");
        }
        self.judge(run)
    }

    /// Judges the whole file; what is seen is of the last run.
    fn judge(&self, last: Option<i64>) -> Seen {
        let reader = match Reader::open(&self.path) {
            Ok(reader) => reader,
            // Killed before there was anything.
            Err(error) if error.kind() == LedgerErrorKind::Missing && self.told.is_empty() => {
                return Seen::default();
            }
            Err(error) => panic!("{error}: {error:?}"),
        };
        let mut rows: HashMap<i64, HashMap<AttemptId, Attempt>> = HashMap::new();
        reader
            .for_each(&Range::default(), |row| {
                let twice = rows.entry(row.run).or_default().insert(row.id.clone(), row);
                assert!(twice.is_none(), "two rows of one attempt: {twice:?}");
                ControlFlow::Continue(())
            })
            .expect("it reads");
        let stray = rows.keys().find(|run| !self.told.contains_key(run));
        assert_eq!(stray, None, "a run that told nothing has rows");
        let mut seen = Seen::default();
        for (run, told) in &self.told {
            let of_run = check_rows(told, rows.get(run).unwrap_or(&HashMap::new()));
            if Some(*run) == last {
                seen = of_run;
            }
        }
        check_budgets(&reader, rows.values().flat_map(HashMap::values));
        seen
    }
}

/// Every send has its row, every row says what its call was, and what was kept is there.
fn check_rows(told: &Told, rows: &HashMap<AttemptId, Attempt>) -> Seen {
    let mut seen = Seen { sent: told.sent.len() as u64, ..Seen::default() };
    for number in &told.sent {
        let row = rows.get(&id(*number)).unwrap_or_else(|| panic!("call {number} is lost"));
        assert_eq!(row.reserved, Money::from_ticks(reserved(*number)));
        assert_eq!(row.tag, Some(tag(*number)));
        match row.ending {
            None => seen.open += 1,
            Some(ended) => {
                seen.closed += 1;
                assert_eq!(ended, ending(*number));
                assert_eq!(row.cost, Some(Money::from_ticks(cost(*number))));
            }
        }
    }
    for number in &told.kept {
        assert!(rows[&id(*number)].ending.is_some(), "the outcome of call {number} is lost");
    }
    // Those that were announced and did not get to leave: one a sender at most.
    let sent: HashSet<AttemptId> = told.sent.iter().map(|number| id(*number)).collect();
    let unsent = rows.values().filter(|row| !sent.contains(&row.id));
    let unsent = unsent.inspect(|row| assert_eq!(row.ending, None)).count();
    assert!(unsent as u64 <= SENDERS, "{unsent} rows of calls that never left");
    seen
}

/// What the calls came to, by the name of a scope and the day: money and tokens.
type Expected = HashMap<(String, i64), [u128; 2]>;

/// What a budget starts with is what the calls cost and used, to the unit: in every scope, on every
/// day, at the moments at which they count; and so are the totals.
fn check_budgets<'a>(reader: &Reader, rows: impl Iterator<Item = &'a Attempt>) {
    let mut scopes = vec![LimitKey::All, LimitKey::Model("grok-4.3".into())];
    scopes.extend(["red", "green", "blue"].map(|name| LimitKey::Tag(Tag::from(name))));
    let mut expected = Expected::new();
    for row in rows {
        let number: u64 = row
            .id
            .call
            .strip_prefix("call-")
            .and_then(|number| number.parse().ok())
            .expect("one of ours");
        let (at, money, tokens) = match (row.ending, ending(number)) {
            (None, _) => (sent_at(number), reserved(number), reserved_tokens(number)),
            (Some(_), Ending::Refused) => (over_at(sent_at(number)), 0, 0),
            (Some(_), _) => {
                let used =
                    usage(number).map_or(reserved_tokens(number), |usage| usage.total_tokens());
                (over_at(sent_at(number)), cost(number), used)
            }
        };
        for scope in [&scopes[0], &scopes[1], &LimitKey::Tag(tag(number))] {
            let sums = expected.entry((scope.to_string(), at.div_euclid(DAY))).or_default();
            sums[0] += money.unsigned_abs();
            sums[1] += u128::from(tokens);
        }
    }
    let mut budgets = Budgets::new();
    for scope in &scopes {
        let money = Budget::money(Money::from_usd(1_000_000), Period::Day).expect("a budget");
        let tokens = Budget::total_tokens(1 << 60, Period::Day).expect("a budget");
        for budget in [money, tokens] {
            budgets.add(budget.scope(scope.clone())).expect("room");
        }
    }
    let restored = reader.for_each(&Range::default(), |row| {
        assert_eq!(budgets.restore([Spend::from(&row)]), 0, "it can have been spent: {row:?}");
        ControlFlow::Continue(())
    });
    restored.expect("it reads");
    for day in 0..DAYS.cast_signed() {
        let now = UnixMillis::new(day * DAY + DAY / 2);
        let spent: Vec<u128> = budgets.standings(now).map(|s| s.spent.into()).collect();
        let said = |scope: &LimitKey| expected.get(&(scope.to_string(), day)).copied();
        let due: Vec<u128> =
            scopes.iter().flat_map(|scope| said(scope).unwrap_or_default()).collect();
        assert_eq!(spent, due, "day {day}: money and tokens of {scopes:?}");
    }
    for scope in &scopes {
        let totals = reader.totals(&Range::default().of(scope.clone())).expect("added up");
        let days = expected.iter().filter(|((name, _), _)| *name == scope.to_string());
        let [money, tokens] =
            days.fold([0, 0], |sum, (_, more)| [sum[0] + more[0], sum[1] + more[1]]);
        assert_eq!(totals.spent().as_ticks().unsigned_abs(), money, "{scope}");
        assert_eq!(totals.counted_tokens, tokens, "{scope}");
    }
}

/// What a process told before it was killed.
#[derive(Debug, Default)]
struct Told {
    run: Option<i64>,
    sent: Vec<u64>,
    kept: Vec<u64>,
}

fn listen(lines: impl BufRead, told_run: &std::sync::mpsc::Sender<()>) -> Told {
    let mut told = Told::default();
    for line in lines.lines() {
        let line = line.expect("text");
        match line.split_once(' ') {
            Some(("run", run)) => {
                told.run = run.parse().ok();
                // Nobody listens any more where it was killed before.
                let _ = told_run.send(());
            }
            Some(("sent", number)) => told.sent.extend(number.parse::<u64>()),
            Some(("kept", number)) => told.kept.extend(number.parse::<u64>()),
            // What the test harness prints.
            _ => {}
        }
    }
    told
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Waits for a future on this thread: no runtime is needed.
pub(crate) fn wait<F: Future>(future: F) -> F::Output {
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut context = Context::from_waker(&waker);
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut context) {
            Poll::Ready(done) => return done,
            Poll::Pending => thread::park(),
        }
    }
}
