//! One client against one server in virtual time: how full it runs the quota, how often it is
//! refused, how high its windows go.
//!
//! The server counts by `paceline_sim::engine`; the client is the pure
//! [`Limiter`](paceline_limiter::Limiter), or a rival. Nothing here reads a clock, and a seed
//! repeats every figure. Invariant: client and server share nothing but calls and what the answers
//! say.
//!
//! | module | holds |
//! |---|---|
//! | `workload`, `trace` | what calls are like, and what is known of them beforehand |
//! | `gate`, `rivals` | our limiter as a client uses it; a token bucket; an oracle |
//! | `server` | the meters of tokens and requests |
//! | `world` | the event loop between them |
//! | `scene` | one run, said as data |
//! | `tally` | what a run came to |
//! | `cases`, `book` | what is measured, its targets, its rows |

mod book;
mod cases;
mod gate;
mod rivals;
mod scene;
mod server;
mod tally;
mod trace;
pub(crate) mod workload;
mod world;

use std::path::PathBuf;
use std::sync::Arc;

use book::Book;
use cases::{CASES, Case};
use scene::Lab;
pub(crate) use trace::{CONVERSATIONS, read as read_trace};

use crate::row;

/// How to measure.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Options {
    /// The folder of the public data.
    pub data: PathBuf,
    /// The cases by name; all of them where none is named.
    pub only: Vec<String>,
    /// Windows counted in each run, after the first. Default: 40 or more, up to 2,000, so that a
    /// run has 30,000 calls. Cases in which a single incident is counted have their own.
    pub windows: Option<u64>,
    /// What chance is drawn from.
    pub seed: u64,
    /// How many calls are in flight at the quota, run by run.
    pub loads: Vec<u64>,
}

impl Options {
    /// Everything, from one seed, at 8, 32 and 128 calls in flight.
    pub fn new(data: PathBuf) -> Self {
        Self { data, only: Vec::new(), windows: None, seed: 1, loads: vec![8, 32, 128] }
    }
}

/// The name of every case, and what it is.
pub fn cases() -> impl Iterator<Item = (&'static str, &'static str)> {
    CASES.iter().map(|case| (case.name, case.about))
}

/// Measures. Every run is shown as a line; what comes back is the JSON list of the rows.
///
/// # Errors
/// A text for people where the trace can't be read, or a case is named that there is not.
pub fn measure(options: &Options, show: &mut dyn FnMut(&str)) -> Result<String, String> {
    let chosen = chosen(&options.only)?;
    let trace = trace::read(&options.data.join(CONVERSATIONS))?;
    let lab = Lab { trace: Arc::from(trace), seed: options.seed, windows: options.windows };
    let mut book = Book::new(lab, options.loads.clone(), show);
    for case in chosen {
        book.begin(case.name);
        (case.measure)(&mut book);
    }
    Ok(row::to_json(&book.into_rows()))
}

fn chosen(only: &[String]) -> Result<Vec<&'static Case>, String> {
    if only.is_empty() {
        return Ok(CASES.iter().collect());
    }
    only.iter()
        .map(|name| {
            CASES.iter().find(|case| case.name == name).ok_or_else(|| {
                let names: Vec<_> = cases().map(|(name, _)| name).collect();
                format!("there is no case {name}; there are {}", names.join(", "))
            })
        })
        .collect()
}
