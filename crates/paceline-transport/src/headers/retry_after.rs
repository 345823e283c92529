//! The values of `retry-after` (RFC 9110 §10.2.3) and `retry-after-ms`, as they come in practice.
//!
//! What this file keeps: integer arithmetic, rounded up, so that no wait is shorter than stated.

use std::time::{Duration, UNIX_EPOCH};

use paceline_core::UnixMillis;

/// Seconds, whole or with decimals, or an HTTP date in any of its three forms.
pub(super) fn seconds_or_date(text: &str, now: UnixMillis) -> Option<Duration> {
    decimal(text, 1_000_000_000).or_else(|| {
        let date = httpdate::parse_http_date(text).ok()?;
        let millis = date.duration_since(UNIX_EPOCH).ok()?.as_millis();
        Some(UnixMillis::new(i64::try_from(millis).ok()?).since(now))
    })
}

/// Milliseconds, whole or with decimals.
pub(super) fn milliseconds(text: &str) -> Option<Duration> {
    decimal(text, 1_000_000)
}

/// `digits[.digits]` of a unit of so many nanoseconds, rounded up; `None` for a sign, an
/// exponent, NaN, infinity, or more whole units than fit 64 bits.
fn decimal(text: &str, unit_ns: u64) -> Option<Duration> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if !digits(whole) || !digits(fraction) {
        return None;
    }
    let whole: u64 = whole.parse().ok()?;
    // Nine digits are nanoseconds of a second; what follows them only rounds up.
    let (kept, rest) = fraction.split_at(fraction.len().min(9));
    let scale = 10_u128.pow(u32::try_from(kept.len()).ok()?);
    let kept: u128 = kept.parse().ok()?;
    let part = (kept * u128::from(unit_ns)).div_ceil(scale);
    let more = u128::from(rest.bytes().any(|byte| byte != b'0') && part < u128::from(unit_ns));
    let nanos = u128::from(whole) * u128::from(unit_ns) + part + more;
    let seconds = u64::try_from(nanos / 1_000_000_000).ok()?;
    Some(Duration::new(seconds, u32::try_from(nanos % 1_000_000_000).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Option<Duration>) {
        let now = UnixMillis::new(784_111_777_000); // Sun, 06 Nov 1994 08:49:37 GMT
        assert_eq!(seconds_or_date(text, now), expected, "{text:?}");
    }

    #[test]
    fn seconds_come_whole_and_with_decimals() {
        check("0", Some(Duration::ZERO));
        check("120", Some(Duration::from_secs(120)));
        check("1.5", Some(Duration::from_millis(1_500)));
        check("0.0000000001", Some(Duration::from_nanos(1)));
        check("0.9999999999", Some(Duration::from_secs(1)));
        check("18446744073709551615", Some(Duration::from_secs(u64::MAX)));
    }

    #[test]
    fn dates_come_in_three_forms_and_past_ones_are_zero() {
        let minute = Some(Duration::from_secs(60));
        check("Sun, 06 Nov 1994 08:50:37 GMT", minute);
        check("Sunday, 06-Nov-94 08:50:37 GMT", minute);
        check("Sun Nov  6 08:50:37 1994", minute);
        check("Sun, 06 Nov 1994 08:49:36 GMT", Some(Duration::ZERO));
    }

    #[test]
    fn what_is_no_wait_is_ignored() {
        for text in [
            "",
            "-1",
            "+1",
            "nan",
            "NaN",
            "inf",
            "-inf",
            "1e3",
            "1.",
            ".5",
            "1,5",
            "0x10",
            "1 2",
            "18446744073709551616",
            "soon",
            "Sun, 99 Nov 1994 08:49:37 GMT",
            "2026-11-24T00:00:00Z",
        ] {
            check(text, None);
        }
    }

    #[test]
    fn milliseconds_may_have_decimals_too() {
        assert_eq!(milliseconds("1500"), Some(Duration::from_millis(1_500)));
        assert_eq!(milliseconds("0.5"), Some(Duration::from_micros(500)));
        assert_eq!(milliseconds("-3"), None);
        assert_eq!(milliseconds("Sun, 06 Nov 1994 08:50:37 GMT"), None);
    }
}
