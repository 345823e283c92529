//! The total of a whole job: how far off what it was said to use is, and whether the range holds.
//!
//! A job of up to 1,000 rows of one workload; its total is said before any answer, after 5 and
//! after 20. Invariant: what was answered counts as it was counted, only the rest is estimated.

use paceline_budget::JobTotal;

use super::Lab;
use super::documents::{Document, Workload};
use super::input::kinds;
use super::stream::{CONSTANTS, Classes, Estimates as _, Server, draw};
use super::truth::Tokenizer;
use crate::row::Row;

/// Jobs of each truth and hidden constant.
const JOBS: u64 = 7;
/// Rows of a job at most.
const ROWS: usize = 1_000;
/// Answers after which a total is said.
const AFTER: [usize; 3] = [0, 5, 20];
/// What its error may be then; nothing is asked before any answer.
const TARGETS: [f64; 3] = [f64::INFINITY, 0.06, 0.02];
/// Reported without a target after 20.
const AS_MEASURED: [&str; 2] = ["ru", "mixed"];
/// The workloads that targets are for.
const JUDGED: [&str; 9] = ["chat", "prose", "words", "code", "zh", "ja", "ru", "th", "mixed"];
/// The share of jobs whose range holds the truth.
const HELD: f64 = 0.95;

#[derive(Clone, Copy, Default)]
struct Sum {
    error: f64,
    held: u32,
    width: f64,
    jobs: u32,
}

pub(super) fn measure(lab: &mut Lab<'_>) -> Result<Vec<Row>, String> {
    let documents = lab.documents()?;
    let mut rows = Vec::new();
    let mut all = [Sum::default(); AFTER.len()];
    for (name, workloads) in kinds(&documents) {
        let available: usize = workloads.iter().map(|workload| workload.documents.len()).sum();
        if available < 2 * AFTER[2] {
            (lab.show)(&format!("{name}: {available} documents are too few for a job, left out"));
            continue;
        }
        for truth in Tokenizer::TRUTHS {
            for known in [false, true] {
                let sums = jobs(lab, &workloads, truth, known);
                say(lab, name, truth, known, &sums);
                if !known {
                    all.iter_mut().zip(&sums).for_each(|(all, sum)| all.add(sum));
                }
                rows.extend(rows_of(name, truth, known, &sums));
            }
        }
    }
    for (sum, after) in all.iter().zip(AFTER) {
        let name = format!("job.all.held_after_{after}");
        let mut row = Row::new(name, f64::from(sum.held) / f64::from(sum.jobs), "share");
        row.at_least(HELD);
        rows.push(row);
    }
    Ok(rows)
}

impl Sum {
    fn add(&mut self, other: &Self) {
        self.error += other.error;
        self.held += other.held;
        self.width += other.width;
        self.jobs += other.jobs;
    }
}

fn jobs(
    lab: &Lab<'_>,
    workloads: &[&Workload],
    truth: Tokenizer,
    known: bool,
) -> [Sum; AFTER.len()] {
    let mut sums = [Sum::default(); AFTER.len()];
    for constant in CONSTANTS {
        let server = Server { truth, constant };
        for job in 0..JOBS {
            let documents = draw(workloads, ROWS, lab.options.seed * 1_000 + 500 + job);
            let client =
                if known { Classes::knowing(truth, constant) } else { Classes::new(truth) };
            one_job(client, &documents, server, &mut sums);
        }
    }
    sums
}

fn one_job(mut client: Classes, documents: &[Document], server: Server, sums: &mut [Sum; 3]) {
    let truth: u64 = documents.iter().map(|document| server.tokens(document)).sum();
    let (mut answered, mut next) = (0, 0);
    for (sum, after) in sums.iter_mut().zip(AFTER) {
        for document in &documents[next..after] {
            let actual = server.tokens(document);
            client.learn(document, actual);
            answered += actual;
        }
        next = after;
        let mut rest = JobTotal::new();
        documents[after..].iter().for_each(|document| rest.add(&client.features(document)));
        let range = client.model().total(&rest);
        let expected = (answered + range.expected) as f64;
        sum.error += (expected - truth as f64).abs() / truth as f64;
        let held = (answered + range.low..=answered + range.high).contains(&truth);
        sum.held += u32::from(held);
        sum.width += (range.high - range.low) as f64 / truth as f64;
        sum.jobs += 1;
    }
}

fn say(lab: &mut Lab<'_>, name: &str, truth: Tokenizer, known: bool, sums: &[Sum]) {
    let figures: Vec<_> = sums
        .iter()
        .zip(AFTER)
        .map(|(sum, after)| {
            let jobs = f64::from(sum.jobs);
            format!(
                "after {after:2}: {:6.2} % off, range {:6.1} % wide, held {:5.1} %",
                100.0 * sum.error / jobs,
                100.0 * sum.width / jobs,
                100.0 * f64::from(sum.held) / jobs
            )
        })
        .collect();
    let knows = if known { "constant known" } else { "constant unknown" };
    (lab.show)(&format!("{name:12} {:9} {knows:16} {}", truth.name(), figures.join("; ")));
}

fn rows_of(name: &str, truth: Tokenizer, known: bool, sums: &[Sum]) -> Vec<Row> {
    let mut rows = Vec::new();
    for ((sum, after), target) in sums.iter().zip(AFTER).zip(TARGETS) {
        if known && after > 0 {
            continue;
        }
        let knows = if known { "known" } else { "after" };
        let row_name = format!("job.{name}.{}.error_{knows}_{after}", truth.name());
        let mut row = Row::new(row_name, sum.error / f64::from(sum.jobs), "share");
        let as_measured = AS_MEASURED.contains(&name) && (after == 20 || name == "mixed");
        if target.is_finite() && JUDGED.contains(&name) && !as_measured {
            row.at_most(target);
        }
        rows.push(row);
    }
    rows
}
