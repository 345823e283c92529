//! Wall time, for rows, journals and people. Never for pacing.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use paceline_core::UnixMillis;

/// The present moment.
pub(crate) fn now() -> UnixMillis {
    let millis = |elapsed: Duration| i64::try_from(elapsed.as_millis()).unwrap_or(i64::MAX);
    UnixMillis::new(match SystemTime::now().duration_since(UNIX_EPOCH) {
        Ok(since) => millis(since),
        Err(before) => -millis(before.duration()),
    })
}

/// RFC 3339 in UTC with milliseconds, such as `2026-11-24T11:10:37.042Z`.
pub(crate) fn rfc3339(at: UnixMillis) -> String {
    let timestamp = jiff::Timestamp::from_millisecond(at.as_millis())
        .unwrap_or(if at.as_millis() < 0 { jiff::Timestamp::MIN } else { jiff::Timestamp::MAX });
    format!("{timestamp:.3}")
}

/// A moment as people write it: `2026-11-01` in UTC, or RFC 3339 with an offset.
pub(crate) fn parse(text: &str) -> Option<UnixMillis> {
    let whole = if text.len() == 10 { format!("{text}T00:00:00Z") } else { text.to_owned() };
    let timestamp: jiff::Timestamp = whole.parse().ok()?;
    Some(UnixMillis::new(timestamp.as_millisecond()))
}

/// A duration as people say it: `0.4 s`, `38 s`, `4 min 10 s`, `2 h 5 min`.
pub(crate) fn spoken(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0..10 => format!("{:.1} s", duration.as_secs_f64()),
        10..90 => format!("{seconds} s"),
        90..3_600 => format!("{} min {} s", seconds / 60, seconds % 60),
        _ => format!("{} h {} min", seconds / 3_600, seconds % 3_600 / 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_told_in_utc_to_the_millisecond() {
        assert_eq!(rfc3339(UnixMillis::new(0)), "1970-01-01T00:00:00.000Z");
        assert_eq!(rfc3339(UnixMillis::new(1_732_446_637_042)), "2024-11-24T11:10:37.042Z");
        assert_eq!(rfc3339(UnixMillis::new(-1)), "1969-12-31T23:59:59.999Z");
        assert!(rfc3339(UnixMillis::new(i64::MAX)).starts_with("9999-12-30"));
    }

    #[test]
    fn moments_are_read_as_they_are_written() {
        let read = |text| parse(text).map(UnixMillis::as_millis);
        assert_eq!(read("2024-11-24T11:10:37.042Z"), Some(1_732_446_637_042));
        assert_eq!(read("2024-11-24T13:10:37.042+02:00"), Some(1_732_446_637_042));
        assert_eq!(read("1969-12-31"), Some(-86_400_000));
        assert_eq!(read("2024-02-29"), Some(1_709_164_800_000));
        assert_eq!((read("2023-02-29"), read(""), read("11:00")), (None, None, None));
    }

    #[test]
    fn durations_are_told_as_people_say_them() {
        let said = |millis| spoken(Duration::from_millis(millis));
        assert_eq!(said(420), "0.4 s");
        assert_eq!(said(38_900), "38 s");
        assert_eq!(said(250_000), "4 min 10 s");
        assert_eq!(said(7_500_000), "2 h 5 min");
    }
}
