//! placeholder
mod record;
pub use record::{AttemptId, Ending, Intent, Outcome, Record, RecordError, Recorded};
