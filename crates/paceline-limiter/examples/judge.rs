//! Counts what a server would have counted, in the plain way, to judge the examples.

use paceline_limiter::Instant;
use std::time::Duration;

/// The most that was counted in any one second, of moments and amounts in any order.
pub(crate) fn fullest_second(log: &[(Instant, u64)]) -> u64 {
    let second = |end: Instant| {
        let inside = move |at: Instant| at <= end && end.since(at) < Duration::from_secs(1);
        log.iter().filter(|(at, _)| inside(*at)).map(|(_, amount)| amount).sum()
    };
    log.iter().map(|(end, _)| second(*end)).max().unwrap_or(0)
}
