//! The limiter's promises, judged by a log that knows nothing of it.

mod keyed;
mod oracle;
mod pacing;
mod promises;
mod saved;
mod table;
mod waiting;
