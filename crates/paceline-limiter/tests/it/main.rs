//! The limiter's promises, judged by a log that knows nothing of it.

mod oracle;
mod profiles;
mod promises;
mod table;
mod waiting;
