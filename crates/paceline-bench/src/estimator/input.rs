//! The error of the estimate of input tokens, workload by workload and truth by truth.
//!
//! Ours starts from a prior that was fitted without the tokenizer that judges, and does not know
//! the hidden constant. Invariant: the peers see the same streams.

use std::ops::Range;

use super::Lab;
use super::documents::{Documents, Workload};
use super::stream::{CONSTANTS, Classes, Estimates, REQUESTS, Ratio, Server, Step, draw, follow};
use super::truth::Tokenizer;
use crate::row::Row;

/// Streams of each truth and hidden constant: 3 times 3 times this make a row.
const STREAMS: u64 = 7;

/// What is asked of a workload: its error after 10 and after 300 requests.
const TARGETS: [(&str, f64, f64); 9] = [
    ("chat", 0.06, 0.035),
    ("prose", 0.06, 0.035),
    ("words", 0.025, 0.02),
    ("code", 0.045, 0.032),
    ("zh", 0.045, 0.036),
    ("ja", 0.04, 0.033),
    ("ru", 0.04, 0.033),
    ("th", 0.05, 0.045),
    (MIXED, 0.16, 0.04),
];
/// The workloads that were mixed when this was first measured (`estimation.md`), and all others
/// beside them.
const MIXED: &str = "mixed";
const OF_MIXED: [&str; 14] = [
    "chat", "prose", "words", "code", "zh", "ja", "ru", "th", "ko", "ar", "hi", "de_fr_es", "bn",
    "el",
];
const EVERYTHING: &str = "everything";
/// With a borrowed tokenizer beside the classes, after 300.
const BORROWED: f64 = 0.025;

/// Requests that an error is the mean of.
const SPANS: [(&str, Range<usize>); 5] = [
    ("at_0", 0..5),
    ("after_10", 10..30),
    ("after_60", 60..80),
    ("after_100", 100..200),
    ("after_300", 300..400),
];
/// Documents of which a stream is made at least; a shorter one has no figure for what comes later.
const LEAST: usize = 80;

/// Errors of one sort by span, summed up.
#[derive(Clone, Copy, Default)]
struct Errors {
    sums: [(f64, u32); SPANS.len()],
}

impl Errors {
    fn add(&mut self, steps: &[Step]) {
        for (sum, (_, span)) in self.sums.iter_mut().zip(SPANS) {
            let inside = steps.iter().take(span.end).skip(span.start);
            for step in inside {
                sum.0 += step.error();
                sum.1 += 1;
            }
        }
    }

    fn means(&self) -> [f64; SPANS.len()] {
        self.sums.map(|(sum, count)| sum / f64::from(count))
    }
}

pub(super) fn measure(lab: &mut Lab<'_>) -> Result<Vec<Row>, String> {
    let documents = lab.documents()?;
    let mut rows = Vec::new();
    for (name, workloads) in kinds(&documents) {
        let available: usize = workloads.iter().map(|workload| workload.documents.len()).sum();
        if available < LEAST {
            (lab.show)(&format!(
                "{name}: {available} documents are too few for a stream, left out"
            ));
            continue;
        }
        for truth in Tokenizer::TRUTHS {
            rows.extend(of_kind(lab, name, &workloads, truth));
        }
    }
    Ok(rows)
}

/// The workloads one by one, and all together.
pub(super) fn kinds(documents: &Documents) -> Vec<(&'static str, Vec<&Workload>)> {
    let mut kinds: Vec<_> =
        documents.workloads.iter().map(|workload| (workload.name, vec![workload])).collect();
    let of_mixed = |workload: &&Workload| OF_MIXED.contains(&workload.name);
    kinds.push((MIXED, documents.workloads.iter().filter(of_mixed).collect()));
    kinds.push((EVERYTHING, documents.workloads.iter().collect()));
    kinds
}

fn of_kind(lab: &mut Lab<'_>, name: &str, workloads: &[&Workload], truth: Tokenizer) -> Vec<Row> {
    let [mut ours, mut both, mut peer] = [Errors::default(); 3];
    for constant in CONSTANTS {
        let server = Server { truth, constant };
        for stream in 0..STREAMS {
            let documents = draw(workloads, REQUESTS, lab.options.seed * 1_000 + stream);
            let clients: [(&mut Errors, &mut dyn Estimates); 3] = [
                (&mut ours, &mut Classes::new(truth)),
                (&mut both, &mut Classes::borrowing(truth)),
                (&mut peer, &mut Ratio::new(truth)),
            ];
            for (errors, client) in clients {
                errors.add(&follow(client, &documents, server));
            }
        }
    }
    let (ours, both, peer) = (ours.means(), both.means(), peer.means());
    let percent = |means: &[f64]| {
        let figures: Vec<_> = means.iter().map(percent_of).collect();
        figures.join(" ")
    };
    (lab.show)(&format!(
        "{name:12} {:9}  ours {}  with {} {}  {} + ratio + constant {}",
        truth.name(),
        percent(&ours),
        truth.peer().name(),
        percent(&both),
        truth.peer().name(),
        percent(&peer),
    ));
    rows_of(name, truth, ours, both, peer)
}

/// In percent, or a dash where there was nothing to judge.
fn percent_of(mean: &f64) -> String {
    if mean.is_finite() { format!("{:5.2}", 100.0 * mean) } else { "    -".to_owned() }
}

fn rows_of(
    name: &str,
    truth: Tokenizer,
    ours: [f64; SPANS.len()],
    both: [f64; SPANS.len()],
    peer: [f64; SPANS.len()],
) -> Vec<Row> {
    let target = TARGETS.iter().find(|(workload, ..)| *workload == name);
    let mut rows = Vec::new();
    let mut known = ours.iter().enumerate().filter(|(_, mean)| mean.is_finite());
    for (place, _) in known.clone() {
        let (span, _) = &SPANS[place];
        let row_name = format!("input.{name}.{}.{span}", truth.name());
        let beside = format!("{} + ratio + constant {:.4}", truth.peer().name(), peer[place]);
        let mut row = Row::new(row_name, ours[place], "share").beside(beside);
        match (*span, target) {
            ("after_10", Some((_, most, _))) | ("after_300", Some((_, _, most))) => {
                row.at_most(*most);
            }
            _ => {}
        }
        rows.push(row);
    }
    let Some((last, _)) = known.next_back() else { return rows };
    if last + 1 < SPANS.len() {
        return rows;
    }
    let row_name = format!("input.{name}.{}.borrowed_after_300", truth.name());
    let mut row = Row::new(row_name, both[last], "share");
    if target.is_some() {
        row.at_most(BORROWED);
    }
    rows.push(row);
    rows
}
