//! The limiter's promises, judged by a log that knows nothing of it.

mod laws;
mod oracle;
mod profiles;
mod promises;
mod table;
mod waiting;
mod wakeups;
