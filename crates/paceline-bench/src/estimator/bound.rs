//! How often the 95 % bound holds, and how far above the truth it lies.
//!
//! Invariant: a bound is made before its answer is known.

use std::ops::Range;

use super::Lab;
use super::input::kinds;
use super::stream::{CONSTANTS, Classes, REQUESTS, Server, Step, draw, follow};
use super::truth::Tokenizer;
use crate::row::Row;

/// Streams of each workload and hidden constant.
const STREAMS: u64 = 7;
/// Requests that a share is of.
const SPANS: [(&str, Range<usize>); 3] =
    [("first_20", 0..20), ("at_20_99", 20..100), ("after_100", 100..400)];
#[derive(Clone, Copy, Default)]
struct Sum {
    held: u32,
    excess: f64,
    count: u32,
}

impl Sum {
    fn coverage(&self) -> f64 {
        f64::from(self.held) / f64::from(self.count)
    }

    fn excess(&self) -> f64 {
        self.excess / f64::from(self.count)
    }

    fn add(&mut self, step: &Step) {
        let actual = step.actual as f64;
        self.held += u32::from(actual <= step.upper);
        self.excess += (step.upper - actual) / actual;
        self.count += 1;
    }
}

pub(super) fn measure(lab: &mut Lab<'_>) -> Result<Vec<Row>, String> {
    let documents = lab.documents()?;
    let mut rows = Vec::new();
    for truth in Tokenizer::TRUTHS {
        let mut sums = [Sum::default(); SPANS.len()];
        let mut by_stream = Vec::new();
        for (_, workloads) in kinds(&documents) {
            let available: usize = workloads.iter().map(|workload| workload.documents.len()).sum();
            if available < REQUESTS {
                continue;
            }
            for constant in CONSTANTS {
                for stream in 0..STREAMS {
                    let seed = lab.options.seed * 1_000 + stream;
                    let documents = draw(&workloads, REQUESTS, seed);
                    let steps =
                        follow(&mut Classes::new(truth), &documents, Server { truth, constant });
                    let mut late = Sum::default();
                    for (sum, (_, span)) in sums.iter_mut().zip(SPANS) {
                        steps[span].iter().for_each(|step| sum.add(step));
                    }
                    steps[SPANS[2].1.clone()].iter().for_each(|step| late.add(step));
                    by_stream.push(late.coverage());
                }
            }
        }
        by_stream.sort_by(f64::total_cmp);
        let worst = by_stream.get(by_stream.len() / 20).copied().unwrap_or(f64::NAN);
        rows.extend(rows_of(lab, truth, &sums, by_stream.len(), worst));
    }
    Ok(rows)
}

fn rows_of(
    lab: &mut Lab<'_>,
    truth: Tokenizer,
    sums: &[Sum; SPANS.len()],
    streams: usize,
    worst: f64,
) -> Vec<Row> {
    let name = |what: &str, span: &str| format!("bound.{}.{what}.{span}", truth.name());
    let mut rows = vec![Row::new(name("streams", "all"), streams as f64, "calls")];
    for (sum, (span, _)) in sums.iter().zip(SPANS) {
        (lab.show)(&format!(
            "{:9} {span:9} {streams} streams: {:5.2} % below the bound, which is {:5.2} % above",
            truth.name(),
            100.0 * sum.coverage(),
            100.0 * sum.excess()
        ));
        let mut coverage = Row::new(name("coverage", span), sum.coverage(), "share");
        let mut excess = Row::new(name("excess", span), sum.excess(), "share");
        match span {
            "first_20" => coverage.at_least(0.95),
            "after_100" => {
                coverage.at_least(0.94);
                excess.at_most(0.07);
                let mut most = Row::new(name("coverage_most", span), sum.coverage(), "share");
                most.at_most(0.96);
                rows.push(most);
            }
            _ => {}
        }
        rows.extend([coverage, excess]);
    }
    rows.push(Row::new(name("coverage_worst_twentieth", "after_100"), worst, "share"));
    rows
}
