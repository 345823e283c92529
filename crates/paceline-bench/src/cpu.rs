//! CPU time of this process, where the platform tells it.

use std::time::Duration;

/// The CPU time of all threads of this process so far.
#[cfg(unix)]
pub(crate) fn process_cpu() -> Option<Duration> {
    use rustix::time::{ClockId, clock_gettime};
    Duration::try_from(clock_gettime(ClockId::ProcessCPUTime)).ok()
}

/// Nobody tells it here.
#[cfg(not(unix))]
pub(crate) fn process_cpu() -> Option<Duration> {
    None
}
