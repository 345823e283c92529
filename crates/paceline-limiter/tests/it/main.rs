//! The limiter's promises, judged by a log that knows nothing of it.

mod examples;
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
mod table;
mod waiting;
mod wakeups;
