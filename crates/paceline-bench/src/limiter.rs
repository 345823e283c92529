//! What a decision of `paceline-limiter` costs, beside its peers in the same run.
//!
//! A row is a ratio to a peer's decision, most often governor's `check()`: the median of the ratios
//! of rounds in which both ran in turns. The nanoseconds are rows beside it. Invariant: what of
//! ours is not there yet, or did not decide as it should, is a row without a value.
//!
//! | module | holds |
//! |---|---|
//! | `timer` | times several subjects in turns |
//! | `ours` | which form of our limiter each row measures |
//! | `peers` | governor, leaky-bucket, throttle-net, tower |
//! | `waiters` | many who wait in line: polls and CPU time |
//! | `loss`, `memory` | what granularity costs, in virtual time; bytes for each limit |
//! | `cases`, `book` | what is measured and its targets; its rows and the table |

mod bare;
mod book;
mod cases;
mod loss;
mod memory;
mod ours;
mod peers;
mod timer;
mod waiters;

use book::Book;
use cases::{CASES, Case};

use crate::locked::version;
use crate::row;

/// The name of every case, and what it is.
pub fn cases() -> impl Iterator<Item = (&'static str, &'static str)> {
    CASES.iter().map(|case| (case.name, case.about))
}

/// Measures these cases, or all where none is named, in as many rounds. Every row is shown as a
/// line of a table, in ns; what comes back is the JSON list of the rows.
///
/// # Errors
/// A text for people where a case is named that there is not.
pub fn measure(only: &[String], rounds: u32, show: &mut dyn FnMut(&str)) -> Result<String, String> {
    let chosen = chosen(only)?;
    let peers = ["governor", "leaky-bucket", "throttle-net", "tower"];
    let peers = peers.map(|peer| format!("{peer} {}", version(peer)));
    show(&format!("peers: {}; {rounds} rounds; ns", peers.join(", ")));
    let mut book = Book::new(rounds, show);
    for case in chosen {
        (case.measure)(&mut book);
    }
    Ok(row::to_json(&book.into_rows()))
}

/// Measures how much memory a limit takes; `allocated` tells how many bytes are allocated now.
/// What comes back is the JSON list of the rows.
pub fn measure_memory(allocated: &dyn Fn() -> usize) -> String {
    row::to_json(&memory::measure(allocated))
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
