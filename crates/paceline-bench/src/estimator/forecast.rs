//! How often the range of a forecast holds: how many more requests fit into what is left.
//!
//! Costs are those of the calls of two public traces at two and ten units a token of input and
//! output, shuffled and as they came, and lognormal ones. Invariant: what is foreseen is made of
//! requests that come after those it was learned from.

use paceline_budget::AverageUse;
use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;
use rand::{RngExt as _, SeedableRng as _};

use super::Lab;
use crate::row::Row;

/// The traces.
const TRACES: [(&str, &str); 2] = [("azure_conv.csv", "chat"), ("azure_code.csv", "code")];
/// Deviations of lognormal costs, in natural logarithms.
const LOGNORMAL: [f64; 3] = [0.5, 1.0, 1.5];
/// How many lognormal costs stand for their distribution.
const DRAWN: usize = 20_000;
/// Requests that were seen, and how many of the mean cost then fit.
const SEEN: [usize; 5] = [2, 5, 10, 30, 100];
const FIT: [usize; 3] = [5, 50, 500];
/// Runs of each.
const RUNS: usize = 1_000;
/// What the range promises, less two deviations of so many runs.
const HELD: f64 = 0.88;
/// Above this deviation it promises less: no trace that is known is so unequal.
const MOST_UNEQUAL: f64 = 1.0;

/// Where the runs of a list of costs begin, and how the requests follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    /// Every request is drawn by itself.
    Drawn,
    /// The same, of costs more unequal than the range is promised for.
    DrawnUnequal,
    /// They follow one another as they came, from a place of chance on.
    AsTheyCame,
}

/// How often a range held, and how often fewer fit than it said.
#[derive(Clone, Copy, Debug, Default)]
struct Score {
    held: u32,
    fewer: u32,
    runs: u32,
}

impl Score {
    fn share(&self, of: u32) -> f64 {
        f64::from(of) / f64::from(self.runs)
    }
}

pub(super) fn measure(lab: &mut Lab<'_>) -> Result<Vec<Row>, String> {
    let mut random = StdRng::seed_from_u64(lab.options.seed);
    let mut rows = Vec::new();
    for (file, name) in TRACES {
        let calls = crate::admission::read_trace(&lab.options.data.join("traces").join(file))?;
        let mut costs: Vec<u64> =
            calls.iter().map(|(input, output)| 2 * input + 10 * output).collect();
        rows.extend(of(lab, &format!("{name}.trace_order"), &costs, Order::AsTheyCame));
        costs.shuffle(&mut random);
        rows.extend(of(lab, name, &costs, Order::Drawn));
    }
    for deviation in LOGNORMAL {
        let mut normal = || (0..12).map(|_| random.random::<f64>()).sum::<f64>() - 6.0;
        let costs: Vec<u64> =
            (0..DRAWN).map(|_| (9.0 + deviation * normal()).exp() as u64).collect();
        let order = if deviation > MOST_UNEQUAL { Order::DrawnUnequal } else { Order::Drawn };
        rows.extend(of(lab, &format!("lognormal_{deviation}"), &costs, order));
    }
    Ok(rows)
}

fn of(lab: &mut Lab<'_>, name: &str, costs: &[u64], order: Order) -> Vec<Row> {
    let mut rows = Vec::new();
    for seen in SEEN {
        let scores = FIT.map(|fit| score(costs, order, seen, fit, lab.options.seed));
        let figures = scores.map(|score| {
            let (held, fewer) = (score.share(score.held), score.share(score.fewer));
            format!("{:5.1} ({:4.1} fewer)", 100.0 * held, 100.0 * fewer)
        });
        (lab.show)(&format!("{name:20} after {seen:3}: {} %", figures.join("  ")));
        for (fit, score) in FIT.into_iter().zip(scores) {
            let name = format!("forecast.{name}.{fit}_fit.after_{seen}");
            let mut row = Row::new(name, score.share(score.held), "share");
            if order == Order::Drawn {
                row.at_least(HELD);
            }
            rows.push(row);
        }
    }
    rows
}

fn score(costs: &[u64], order: Order, seen: usize, fit: usize, seed: u64) -> Score {
    let mut random = StdRng::seed_from_u64(seed);
    let left = (costs.iter().sum::<u64>() as f64 / costs.len() as f64 * fit as f64) as u64;
    let mut score = Score::default();
    for _ in 0..RUNS {
        let mut place = random.random_range(0..costs.len());
        let mut next = || {
            place = match order {
                Order::Drawn | Order::DrawnUnequal => random.random_range(0..costs.len()),
                Order::AsTheyCame => (place + 1) % costs.len(),
            };
            costs[place]
        };
        let mut average = AverageUse::default();
        (0..seen).for_each(|_| average.add(next()));
        let Some(foreseen) = average.fits(left) else { continue };
        let (mut rest, mut made) = (left, 0);
        while let Some(less) = rest.checked_sub(next()) {
            rest = less;
            made += 1;
        }
        score.runs += 1;
        score.held += u32::from((foreseen.low..=foreseen.high).contains(&made));
        score.fewer += u32::from(made < foreseen.low);
    }
    score
}
