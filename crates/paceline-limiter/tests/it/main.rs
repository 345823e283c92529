//! The limiter's promises, judged by a log that knows nothing of it.

mod oracle;
mod others;
mod promises;
mod table;
mod waiting;
