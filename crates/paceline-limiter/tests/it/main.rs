//! The limiter's promises, judged by a log that knows nothing of it.

mod oracle;
mod peers;
mod promises;
mod scenarios;
mod table;
mod waiting;
