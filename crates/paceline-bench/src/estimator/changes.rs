//! What happens to the error when something changes without a word.
//!
//! 200 requests as they were, then 40 after the change. Invariants: a document comes once, before
//! or after; a prior was fitted on neither of the tokenizers that judge.

use super::Lab;
use super::documents::{Document, Documents, Workload};
use super::stream::{Classes, Server, Step, draw, follow};
use super::truth::Tokenizer;
use crate::row::Row;

/// Requests before and after.
const BEFORE: usize = 200;
const AFTER: usize = 40;
const STREAMS: u64 = 30;
/// The error by the 20th request after the change.
const TARGET: f64 = 0.04;
/// Requests after a change that an error is the mean of.
const SPANS: [(&str, usize, usize); 6] = [
    ("at_1", 0, 1),
    ("at_2_5", 1, 5),
    ("at_6_10", 5, 10),
    ("at_11_15", 10, 15),
    ("at_16_20", 15, 20),
    ("after_20", 20, 40),
];
/// The span that is held to the target.
const JUDGED: usize = 4;

/// Workloads that a change is measured on.
const WORKLOADS: [&str; 4] = ["prose", "words", "code", "ru"];

/// A change: what the server was, and what it is.
struct Change {
    name: &'static str,
    before: Server,
    after: Server,
}

const fn server(truth: Tokenizer, constant: u64) -> Server {
    Server { truth, constant }
}

const CHANGES: [Change; 6] = [
    Change {
        name: "none",
        before: server(Tokenizer::Grok1, 130),
        after: server(Tokenizer::Grok1, 130),
    },
    Change {
        name: "tokenizer_grok1_o200k_1d",
        before: server(Tokenizer::Grok1, 130),
        after: server(Tokenizer::O200k1d, 130),
    },
    Change {
        name: "tokenizer_o200k_1d_grok1",
        before: server(Tokenizer::O200k1d, 130),
        after: server(Tokenizer::Grok1, 130),
    },
    Change {
        name: "constant_6_192",
        before: server(Tokenizer::Grok1, 6),
        after: server(Tokenizer::Grok1, 192),
    },
    Change {
        name: "constant_192_6",
        before: server(Tokenizer::Grok1, 192),
        after: server(Tokenizer::Grok1, 6),
    },
    Change {
        name: "constant_130_192",
        before: server(Tokenizer::O200k1d, 130),
        after: server(Tokenizer::O200k1d, 192),
    },
];

/// Workloads that follow one another without a word.
const SWITCHES: [(&str, &str); 4] =
    [("prose", "code"), ("words", "code"), ("code", "prose"), ("prose", "words")];

pub(super) fn measure(lab: &mut Lab<'_>) -> Result<Vec<Row>, String> {
    let documents = lab.documents()?;
    let mut rows = Vec::new();
    for change in &CHANGES {
        for name in WORKLOADS {
            let workload = of(&documents, name)?;
            let title = format!("changes.{}.{name}", change.name);
            let draws = |seed| {
                let mut drawn = draw(&[workload], BEFORE + AFTER, seed);
                let after = drawn.split_off(drawn.len().saturating_sub(AFTER).min(BEFORE));
                (drawn, after)
            };
            rows.extend(streams(lab, &title, change.before, change.after, &draws));
        }
    }
    for (first, second) in SWITCHES {
        let (from, to) = (of(&documents, first)?, of(&documents, second)?);
        let title = format!("changes.workload.{first}_{second}");
        let draws = |seed| (draw(&[from], BEFORE, seed), draw(&[to], AFTER, seed + 1));
        for truth in Tokenizer::TRUTHS {
            let same = server(truth, 130);
            rows.extend(streams(lab, &format!("{title}.{}", truth.name()), same, same, &draws));
        }
    }
    Ok(rows)
}

fn of<'a>(documents: &'a Documents, name: &str) -> Result<&'a Workload, String> {
    let found = documents.workloads.iter().find(|workload| workload.name == name);
    found.ok_or_else(|| format!("there is no workload {name}"))
}

fn streams(
    lab: &mut Lab<'_>,
    title: &str,
    before: Server,
    after: Server,
    draws: &dyn Fn(u64) -> (Vec<Document>, Vec<Document>),
) -> Vec<Row> {
    let mut steps: Vec<Vec<Step>> = Vec::new();
    for stream in 0..STREAMS {
        let (first, second) = draws(lab.options.seed * 10_000 + 2 * stream);
        let mut client = Classes::without(&[before.truth, after.truth]);
        follow(&mut client, &first, before);
        steps.push(follow(&mut client, &second, after));
    }
    let mean = |from: usize, to: usize| {
        let inside: Vec<_> = steps
            .iter()
            .flat_map(|steps| steps.iter().take(to).skip(from))
            .map(Step::error)
            .collect();
        inside.iter().sum::<f64>() / inside.len() as f64
    };
    let errors = SPANS.map(|(_, from, to)| mean(from, to));
    let figures: Vec<_> = errors.iter().map(|error| format!("{:6.2}", 100.0 * error)).collect();
    (lab.show)(&format!("{title:40} {} %", figures.join(" ")));
    let of_span = |(place, (span, ..)): (usize, &(&str, usize, usize))| {
        let mut row = Row::new(format!("{title}.{span}"), errors[place], "share");
        if place == JUDGED {
            row.at_most(TARGET);
        }
        row
    };
    SPANS.iter().enumerate().map(of_span).collect()
}
