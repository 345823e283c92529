//! How good the estimates of a call are, on texts that no table of ours was fitted on.
//!
//! Nothing here is part of the estimator: truth comes from real tokenizers, requests from public
//! texts and from what this machine holds. A seed repeats every figure but those of `speed`.
//! Invariant: a text judges only what was not fitted on it, and is met once in a stream.
//!
//! | module | holds |
//! |---|---|
//! | `input`, `job`, `changes`, `bound`, `speed` | the sections, each with its targets |
//! | `output`, `latency` | the same for answers, on lengths of public traces |
//! | `forecast` | how often the range of what still fits holds |
//! | `documents`, `sources` | the texts: which are there, and on which side they stand |
//! | `truth` | the tokenizers |
//! | `stream` | one client of one model, request by request |

mod bound;
mod changes;
mod documents;
mod fit;
mod forecast;
mod input;
mod job;
mod latency;
mod output;
mod sources;
mod speed;
mod stream;
mod truth;

use std::path::PathBuf;
use std::rc::Rc;

use crate::row::{self, Row};
use documents::{Documents, Side};
pub use fit::{Table, fit};
use truth::Tokenizers;

/// How to measure.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Options {
    /// The folder of the public data.
    pub data: PathBuf,
    /// The sections by name; all of them where none is named.
    pub only: Vec<String>,
    /// What chance is drawn from.
    pub seed: u64,
    /// The documents that estimates are judged by.
    pub judged_by: JudgedBy,
}

/// Documents that estimates are judged by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum JudgedBy {
    /// Those that nothing was fitted on or chosen by.
    #[default]
    Unseen,
    /// Those that the tables were fitted on, with other tokenizers: constants are chosen by these.
    /// What comes out is no figure to quote.
    Fitted,
}

impl Options {
    /// Everything, from one seed.
    pub const fn new(data: PathBuf) -> Self {
        Self { data, only: Vec::new(), seed: 1, judged_by: JudgedBy::Unseen }
    }
}

/// One part of the benchmark.
struct Section {
    name: &'static str,
    about: &'static str,
    measure: fn(&mut Lab<'_>) -> Result<Vec<Row>, String>,
}

/// The sections, one a line.
#[rustfmt::skip]
const SECTIONS: &[Section] = &[
    Section { name: "input", about: "error of the estimate, by workload", measure: input::measure },
    Section { name: "job", about: "total of a job of 1,000 rows", measure: job::measure },
    Section { name: "changes", about: "error after something changed", measure: changes::measure },
    Section { name: "bound", about: "coverage of the 95 % bound", measure: bound::measure },
    Section { name: "speed", about: "the pass and the update", measure: speed::measure },
    Section { name: "output", about: "length of answers, on two traces", measure: output::measure },
    Section { name: "latency", about: "time of answers, simulated", measure: latency::measure },
    Section { name: "forecast", about: "how many more requests fit", measure: forecast::measure },
];

/// What a section may use.
struct Lab<'a> {
    options: &'a Options,
    show: &'a mut dyn FnMut(&str),
    documents: Option<Rc<Documents>>,
}

impl Lab<'_> {
    /// The documents that judge, read and counted once.
    fn documents(&mut self) -> Result<Rc<Documents>, String> {
        if let Some(documents) = &self.documents {
            return Ok(Rc::clone(documents));
        }
        (self.show)("reading and counting the documents");
        let tokenizers = Tokenizers::load(&self.options.data)?;
        let side = match self.options.judged_by {
            JudgedBy::Unseen => Side::Judge,
            JudgedBy::Fitted => Side::Fit,
        };
        let documents = Documents::load(&self.options.data, &tokenizers, side)?;
        for workload in &documents.workloads {
            (self.show)(&format!("{:12} {} documents", workload.name, workload.documents.len()));
        }
        documents.missing.iter().for_each(|what| (self.show)(&format!("no data: {what}")));
        Ok(Rc::clone(self.documents.insert(Rc::new(documents))))
    }
}

/// The name of every section, and what it is.
pub fn sections() -> impl Iterator<Item = (&'static str, &'static str)> {
    SECTIONS.iter().map(|section| (section.name, section.about))
}

/// Measures. Every run is shown as a line; what comes back is the JSON list of the rows.
///
/// # Errors
/// A text for people where the public data can't be read, or a section is named that there is not.
pub fn measure(options: &Options, show: &mut dyn FnMut(&str)) -> Result<String, String> {
    let chosen = chosen(&options.only)?;
    let mut lab = Lab { options, show, documents: None };
    let mut rows = Vec::new();
    for section in chosen {
        (lab.show)(&format!("{}: {}", section.name, section.about));
        rows.extend((section.measure)(&mut lab)?);
    }
    Ok(row::to_json(&rows))
}

fn chosen(only: &[String]) -> Result<Vec<&'static Section>, String> {
    if only.is_empty() {
        return Ok(SECTIONS.iter().collect());
    }
    only.iter()
        .map(|name| {
            SECTIONS.iter().find(|section| section.name == name).ok_or_else(|| {
                let names: Vec<_> = sections().map(|(name, _)| name).collect();
                format!("there is no section {name}; there are {}", names.join(", "))
            })
        })
        .collect()
}
