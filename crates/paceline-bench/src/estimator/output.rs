//! How well the length of answers is known beforehand, on two public traces.
//!
//! A reservation is made before every answer and judged by it: how often it sufficed, and what
//! share of it was used. Invariant: an answer is learned from only after its reservation was judged.

use std::hint::black_box;
use std::path::Path;
use std::time::Instant;

use paceline_budget::{OutputKey, OutputModel};
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;

use super::Lab;
use crate::row::Row;

/// The traces: file, name, and the share of the reservation that has to be used.
const TRACES: [(&str, &str, Option<f64>); 2] =
    [("azure_conv.csv", "chat", Some(0.63)), ("azure_code.csv", "code", None)];
/// What both are held to.
const LEVEL: f64 = 0.95;
/// How far off the realised coverage may be.
const OFF: f64 = 0.01;
/// How many are in flight where they are reserved for together.
const IN_FLIGHT: usize = 32;
/// What the pooled reservation of shuffled conversations has to reach.
const POOLED: f64 = 0.78;
/// The 95 % quantile of the normal distribution.
const Z_95: f64 = 1.645;

/// How often reservations sufficed, and what was used of them.
#[derive(Clone, Copy, Debug, Default)]
struct Score {
    held: f64,
    judged: f64,
    used: f64,
    reserved: f64,
}

impl Score {
    fn judge(&mut self, reserved: f64, used: f64) {
        self.judged += 1.0;
        self.held += f64::from(u8::from(used <= reserved));
        self.used += used;
        self.reserved += reserved;
    }

    /// Coverage and share used, and what each is held to.
    fn rows(&self, name: &str, held: Held, share: Option<f64>) -> Vec<Row> {
        let coverage = self.held / self.judged;
        let mut rows = vec![Row::new(format!("{name} coverage"), coverage, "share")];
        if held == Held::ToTheLevel {
            let off = (coverage - LEVEL).abs();
            let mut off = Row::new(format!("{name} coverage, off by"), off, "share");
            off.at_most(OFF);
            rows.push(off);
        }
        let mut used = Row::new(format!("{name} share used"), self.used / self.reserved, "share");
        if let Some(least) = share {
            used.at_least(least);
        }
        rows.push(used);
        rows
    }
}

/// Whether a coverage has to be met within a point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Held {
    ToTheLevel,
    Reported,
}

pub(super) fn measure(lab: &mut Lab<'_>) -> Result<Vec<Row>, String> {
    let mut rows = Vec::new();
    for (file, name, share) in TRACES {
        let calls = read(&lab.options.data.join("traces").join(file))?;
        let mut shuffled = calls.clone();
        shuffled.shuffle(&mut StdRng::seed_from_u64(lab.options.seed));
        let first = &calls[..calls.len().min(6_000)];
        let orders = [("first 6,000", first), ("trace order", &calls), ("shuffled", &shuffled)];
        for (order, calls) in orders {
            let name = format!("output {name}, {order}, alone");
            rows.extend(alone(calls).rows(&name, Held::ToTheLevel, share));
        }
        let name = format!("output {name}, shuffled, pooled");
        rows.extend(pool(&shuffled).rows(&name, Held::Reported, share.map(|_| POOLED)));
        rows.extend(oracle(&shuffled).rows(&format!("{name}, oracle"), Held::Reported, None));
        let name = name.replace("shuffled", "trace order");
        rows.extend(pool(&calls).rows(&name, Held::Reported, None));
        rows.push(cost(&name, &calls));
    }
    for row in &rows {
        (lab.show)(&format!(
            "  {:50} {:8.4} {} {}",
            row.name(),
            row.value(),
            row.unit(),
            row.held_to()
        ));
    }
    Ok(rows)
}

/// Every call by itself, at the 95 % quantile.
fn alone(calls: &[(u64, u64)]) -> Score {
    let (mut model, mut score) = (OutputModel::default(), Score::default());
    for (input, output) in calls {
        let key = OutputKey::new().prompt(*input);
        score.judge(model.predict(&key).quantile(LEVEL) as f64, *output as f64);
        model.learn(&key, *output);
    }
    score
}

/// All that are in flight together: the sum of the means, and of the variances.
fn pool(calls: &[(u64, u64)]) -> Score {
    let (mut model, mut score) = (OutputModel::default(), Score::default());
    for calls in calls.chunks_exact(IN_FLIGHT) {
        let (mut mean, mut variance) = (0.0, 0.0);
        for (input, _) in calls {
            let known = model.predict(&OutputKey::new().prompt(*input));
            mean += known.mean();
            variance += known.variance();
        }
        score.judge(mean + Z_95 * variance.sqrt(), sum(calls));
        for (input, output) in calls {
            model.learn(&OutputKey::new().prompt(*input), *output);
        }
    }
    score
}

/// What it takes to foresee one answer, after all were learned.
fn cost(name: &str, calls: &[(u64, u64)]) -> Row {
    let mut model = OutputModel::default();
    for (input, output) in calls {
        model.learn(&OutputKey::new().prompt(*input), *output);
    }
    let begin = Instant::now();
    let mut sum = 0;
    for (input, _) in calls {
        sum += black_box(model.predict(&OutputKey::new().prompt(*input)).amount()).upper_amount();
    }
    black_box(sum);
    let nanos = begin.elapsed().as_nanos() as f64 / calls.len() as f64;
    Row::new(name.replace("trace order, pooled", "one estimate"), nanos / 1e3, "us")
}

/// The same by one who knows mean and variance of the whole trace, and nothing of a call.
fn oracle(calls: &[(u64, u64)]) -> Score {
    let mean = sum(calls) / calls.len() as f64;
    let variance = calls.iter().map(|(_, output)| (*output as f64 - mean).powi(2)).sum::<f64>()
        / calls.len() as f64;
    let mut score = Score::default();
    let many = IN_FLIGHT as f64;
    for calls in calls.chunks_exact(IN_FLIGHT) {
        score.judge(many * mean + Z_95 * (many * variance).sqrt(), sum(calls));
    }
    score
}

fn sum(calls: &[(u64, u64)]) -> f64 {
    calls.iter().map(|(_, output)| *output as f64).sum()
}

fn read(path: &Path) -> Result<Vec<(u64, u64)>, String> {
    crate::admission::read_trace(path)
}
