//! How well the time of answers is known beforehand, and while they stream.
//!
//! The calls are those of the servers that admission is measured on. Invariant: a call is learned
//! from only after its range was judged.

use std::sync::Arc;
use std::time::Duration;

use paceline_budget::{LatencyModel, OutputKey, OutputModel, StreamAge, Timing};
use paceline_core::Completion;

use super::Lab;
use crate::admission::workload::{Call, Class, MILLI, Mix, Source, Speed};
use crate::row::Row;

/// One server: name, calls, speed, and from the middle on by how much its times are longer.
const SERVERS: [(&str, Mix, Speed, f64); 7] = [
    ("chat", Mix::All(Class::Chat), Speed::Steady, 1.0),
    ("chat, spread", Mix::All(Class::Chat), Speed::Spread, 1.0),
    ("reasoning", Mix::All(Class::Reasoning), Speed::Steady, 1.0),
    ("reasoning, spread", Mix::All(Class::Reasoning), Speed::Spread, 1.0),
    ("short", Mix::All(Class::Short), Speed::Steady, 1.0),
    ("mixed, by tag", Mix::Half, Speed::Spread, 1.0),
    ("chat, three times slower half-way", Mix::All(Class::Chat), Speed::Spread, 3.0),
];
/// Calls of a run.
const CALLS: usize = 4_000;
/// Runs of a server.
const RUNS: u64 = 3;
/// How many calls are the beginning.
const BEGINNING: usize = 20;

/// How many ended before, inside of and after their range.
#[derive(Clone, Copy, Debug, Default)]
struct Score {
    early: f64,
    inside: f64,
    late: f64,
}

impl Score {
    fn judge(&mut self, range: Completion, truth: Duration) {
        *(if truth < range.earliest() {
            &mut self.early
        } else if truth > range.latest() {
            &mut self.late
        } else {
            &mut self.inside
        }) += 1.0;
    }

    fn all(self) -> f64 {
        self.early + self.inside + self.late
    }

    fn share_inside(self) -> f64 {
        self.inside / self.all()
    }

    fn rows(self, name: &str) -> [Row; 2] {
        [
            Row::new(format!("{name}, inside"), self.share_inside(), "share"),
            Row::new(format!("{name}, later"), self.late / self.all(), "share"),
        ]
    }
}

/// What one server came to.
#[derive(Clone, Copy, Debug, Default)]
struct Scores {
    whole: Score,
    beginning: Score,
    streams: Score,
}

pub(super) fn measure(lab: &mut Lab<'_>) -> Result<Vec<Row>, String> {
    let trace = lab.options.data.join("traces/azure_conv.csv");
    let trace: Arc<[(u64, u64)]> = crate::admission::read_trace(&trace)?.into();
    let mut rows = Vec::new();
    for (name, mix, speed, slower) in SERVERS {
        let mut scores = Scores::default();
        for run in 0..RUNS {
            let seed = lab.options.seed.wrapping_add(run);
            let source = Source::new(Arc::clone(&trace), mix, speed, 50 * MILLI, seed);
            one_run(source, slower, &mut scores);
        }
        let name = format!("latency {name}");
        rows.extend(scores.whole.rows(&name));
        let off = (scores.whole.share_inside() - 0.95).abs();
        let mut off = Row::new(format!("{name}, inside, off by"), off, "share");
        off.at_most(0.01);
        rows.push(off);
        rows.extend(scores.beginning.rows(&format!("{name}, first 20")));
        rows.extend(scores.streams.rows(&format!("{name}, half-way in a stream")));
    }
    for row in &rows {
        (lab.show)(&format!(
            "  {:60} {:7.4} {} {}",
            row.name(),
            row.value(),
            row.unit(),
            row.held_to()
        ));
    }
    Ok(rows)
}

fn one_run(mut source: Source, slower: f64, scores: &mut Scores) {
    let (mut latency, mut output) = (LatencyModel::default(), OutputModel::default());
    for number in 0..CALLS {
        let call = source.draw();
        let factor = if number >= CALLS / 2 { slower } else { 1.0 };
        let times = Times::of(&call, factor);
        let key = OutputKey::new().tag(call.class.name()).prompt(call.input);
        let range = latency.completion(&key);
        scores.whole.judge(range, times.whole);
        if number < BEGINNING {
            scores.beginning.judge(range, times.whole);
        } else if call.output >= 2 {
            let age = (times.first + times.whole) / 2;
            let stream = StreamAge::silent(age).shown(times.first, call.output / 2);
            let rest = latency.remaining(&key, &output.predict(&key), stream);
            scores.streams.judge(rest, times.whole);
        }
        latency.learn(&key, &Timing::new(times.whole).streamed(times.first, call.output));
        output.learn(&key, call.output);
    }
}

/// As the client sees them, from the sending on.
struct Times {
    first: Duration,
    whole: Duration,
}

impl Times {
    fn of(call: &Call, factor: f64) -> Self {
        let ways = Duration::from_nanos(call.there + call.back);
        let time = |nanos: u64| ways + Duration::from_nanos(nanos).mul_f64(factor);
        Self { first: time(call.first), whole: time(call.latency) }
    }
}
