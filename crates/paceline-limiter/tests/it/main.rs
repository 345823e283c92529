//! The limiter's promises, judged by a log that knows nothing of it.

mod examples;
mod oracle;
mod pages;
mod promises;
mod restart;
mod table;
mod waiting;
