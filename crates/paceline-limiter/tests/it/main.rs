//! The limiter's promises, judged by a log that knows nothing of it.

mod changed;
mod clocks;
mod deadlines;
mod examples;
#[cfg(feature = "clock")]
mod keyed;
mod laws;
mod oracle;
mod others;
mod pacing;
mod pages;
mod peers;
mod permits;
mod profiles;
mod promises;
mod restart;
mod saved;
mod scenarios;
mod shown;
mod surroundings;
mod table;
mod waiting;
mod wakeups;
