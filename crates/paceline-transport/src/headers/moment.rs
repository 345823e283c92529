//! How long to wait, as headers put it: seconds, units, dates and moments.
//!
//! What this file keeps: integer arithmetic, rounded up, so that no wait is shorter than stated; what
//! is none of these forms is no wait.
//!
//! | form | such as | used by |
//! |---|---|---|
//! | seconds, whole or decimal | `7`, `1.5` | RFC 9110 §10.2.3 (whole), and most others |
//! | a date | `Sun, 06 Nov 1994 08:49:37 GMT`, the two older forms | RFC 9110 §5.6.7 |
//! | a timestamp | `1994-11-06T08:49:37Z` | Anthropic (RFC 3339) |
//! | units | `6m0s`, `1h2m3.5s`, `120ms` | OpenAI, Groq (Go's `time.Duration`) |
//! | since 1970, in seconds or milliseconds | `784111777`, `784111777000` | many |

use std::time::{Duration, UNIX_EPOCH};

use jiff::Timestamp;
use paceline_core::UnixMillis;

/// Any of the forms, as a wait from `now` on; zero for a moment that is past. A number above 10⁹ is a
/// moment in seconds, one above 10¹² a moment in milliseconds: nobody waits for 31 years.
pub(super) fn wait(text: &str, now: UnixMillis) -> Option<Duration> {
    if text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') {
        return number(text, now);
    }
    units(text).or_else(|| date(text).or_else(|| timestamp(text)).map(|at| at.since(now)))
}

/// Milliseconds, whole or with decimals.
pub(super) fn milliseconds(text: &str) -> Option<Duration> {
    decimal(text, MILLISECOND)
}

/// The moment that a date names, in any of the three forms of HTTP.
pub(super) fn date(text: &str) -> Option<UnixMillis> {
    let date = httpdate::parse_http_date(text).ok()?;
    let millis = date.duration_since(UNIX_EPOCH).ok()?.as_millis();
    i64::try_from(millis).ok().map(UnixMillis::new)
}

fn timestamp(text: &str) -> Option<UnixMillis> {
    // The library reads other forms as well, some of which look like numbers.
    let is_strict =
        matches!(text.as_bytes(), [_, _, _, _, b'-', _, _, b'-', _, _, b'T' | b't', ..]);
    let at = text.parse::<Timestamp>().ok().filter(|_| is_strict)?;
    let millis = at.as_millisecond();
    // Rounded up, as a wait must not be too short.
    let has_more = at.as_nanosecond() > i128::from(millis) * 1_000_000;
    Some(UnixMillis::new(millis.saturating_add(i64::from(has_more))))
}

/// Seconds, or a moment.
fn number(text: &str, now: UnixMillis) -> Option<Duration> {
    let wait = decimal(text, SECOND)?;
    let seconds = wait.as_secs();
    if seconds <= SECONDS_AT_MOST {
        return Some(wait);
    }
    let millis = if seconds <= MOMENT_IN_SECONDS_AT_MOST {
        wait.as_nanos().div_ceil(MILLISECOND.into())
    } else {
        u128::from(seconds) + u128::from(wait.subsec_nanos() > 0)
    };
    Some(UnixMillis::new(i64::try_from(millis).ok()?).since(now))
}

/// Numbers with units, each at most once and the largest unit first, as Go writes a duration.
fn units(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut total = Duration::ZERO;
    let mut smaller = UNITS.as_slice();
    while !rest.is_empty() {
        let length = rest.bytes().take_while(|byte| byte.is_ascii_digit() || *byte == b'.').count();
        let (count, after) = rest.split_at(length);
        let length = after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len());
        let (unit, after) = after.split_at(length);
        let place = smaller.iter().position(|(names, _)| names.contains(&unit))?;
        total = total.checked_add(decimal(count, smaller[place].1)?)?;
        smaller = &smaller[place + 1..];
        rest = after;
    }
    (!text.is_empty()).then_some(total)
}

/// `digits[.digits]` of a unit of so many nanoseconds, rounded up; `None` for a sign, an
/// exponent, NaN, infinity, or more than fits.
pub(crate) fn decimal(text: &str, unit_ns: u64) -> Option<Duration> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if !digits(whole) || !digits(fraction) {
        return None;
    }
    let whole: u64 = whole.parse().ok()?;
    // Of a day, 14 digits are a nanosecond; what follows only rounds up.
    let (kept, rest) = fraction.split_at(fraction.len().min(14));
    let scale = 10_u128.pow(u32::try_from(kept.len()).ok()?);
    let kept: u128 = kept.parse().ok()?;
    let part = kept * u128::from(unit_ns);
    let is_exact = part % scale == 0 && rest.bytes().all(|byte| byte == b'0');
    let part = part / scale + u128::from(!is_exact);
    let nanos = u128::from(whole) * u128::from(unit_ns) + part;
    let seconds = u64::try_from(nanos / u128::from(SECOND)).ok()?;
    Some(Duration::new(seconds, u32::try_from(nanos % u128::from(SECOND)).ok()?))
}

const MILLISECOND: u64 = 1_000_000;
const SECOND: u64 = 1_000_000_000;

/// A larger number is a moment: 1,000,000,000 s after 1970 was in 2001.
const SECONDS_AT_MOST: u64 = 1_000_000_000;

/// A larger number counts milliseconds: so many seconds after 1970 is the year 33658.
const MOMENT_IN_SECONDS_AT_MOST: u64 = 1_000_000_000_000;

/// Go's units, and days.
const UNITS: [(&[&str], u64); 7] = [
    (&["d"], 86_400 * SECOND),
    (&["h"], 3_600 * SECOND),
    (&["m"], 60 * SECOND),
    (&["s"], SECOND),
    (&["ms"], MILLISECOND),
    // The micro sign and the Greek letter; a header as text has neither, but Go writes the first.
    (&["us", "\u{b5}s", "\u{3bc}s"], 1_000),
    (&["ns"], 1),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Option<Duration>) {
        let now = UnixMillis::new(784_111_777_000); // Sun, 06 Nov 1994 08:49:37 GMT
        assert_eq!(wait(text, now), expected, "{text:?}");
    }

    fn ms(ms: u64) -> Option<Duration> {
        Some(Duration::from_millis(ms))
    }

    #[test]
    fn seconds_come_whole_and_with_decimals() {
        check("0", ms(0));
        check("120", ms(120_000));
        check("1.5", ms(1_500));
        check("0.0000000001", Some(Duration::from_nanos(1)));
        check("0.9999999999", ms(1_000));
        check("0.00000000000000000001", Some(Duration::from_nanos(1)));
        check("1000000000", Some(Duration::from_secs(1_000_000_000)));
    }

    #[test]
    fn larger_numbers_are_moments_in_seconds_or_milliseconds() {
        // Both are in 2024, 946,684,800 s after the now of these tests or so.
        let since = |seconds: u64| Some(Duration::from_secs(seconds - 784_111_777));
        check("1730796578", since(1_730_796_578));
        check("1730796578000", since(1_730_796_578));
        check("1730796578.25", since(1_730_796_578).map(|wait| wait + Duration::from_millis(250)));
        check("1000000000001", Some(Duration::from_millis(1_000_000_000_001 - 784_111_777_000)));
        check("18446744073709551615", None);
        check("9223372036854775807", Some(Duration::from_millis(9_223_371_252_742_998_807)));
    }

    #[test]
    fn dates_come_in_three_forms_and_past_ones_are_zero() {
        check("Sun, 06 Nov 1994 08:50:37 GMT", ms(60_000));
        check("Sunday, 06-Nov-94 08:50:37 GMT", ms(60_000));
        check("Sun Nov  6 08:50:37 1994", ms(60_000));
        check("Sun, 06 Nov 1994 08:49:36 GMT", ms(0));
    }

    #[test]
    fn timestamps_come_with_any_offset_and_a_fraction() {
        check("1994-11-06T08:50:37Z", ms(60_000));
        check("1994-11-06t08:50:37.5z", ms(60_500));
        check("1994-11-06T08:49:37.000000001Z", ms(1));
        check("1994-11-06T09:50:37+01:00", ms(60_000));
        check("1994-11-06T03:50:37-05:00", ms(60_000));
        check("1994-11-06T08:49:00Z", ms(0));
    }

    #[test]
    fn durations_come_as_go_writes_them() {
        for (text, millis) in [
            ("12ms", 12),
            ("1s", 1_000),
            ("6m0s", 360_000),
            ("24h6m34s", 86_794_000),
            ("2m59.56s", 179_560),
            ("7.66s", 7_660),
            ("1h30m", 5_400_000),
            ("1.5h", 5_400_000),
            ("2d", 172_800_000),
            ("0s", 0),
        ] {
            check(text, ms(millis));
        }
        check("1us", Some(Duration::from_micros(1)));
        check("1.5\u{b5}s", Some(Duration::from_nanos(1_500)));
        check("3ns", Some(Duration::from_nanos(3)));
    }

    #[test]
    fn what_is_no_wait_is_ignored() {
        for text in [
            "",
            ".",
            "-1",
            "+1",
            "nan",
            "NaN",
            "inf",
            "-inf",
            "1e3",
            "1.",
            ".5",
            "1.2.3",
            "1,5",
            "0x10",
            "1 2",
            "18446744073709551616",
            "soon",
            "Sun, 99 Nov 1994 08:49:37 GMT",
            "1994-11-06",
            "1994-11-06T08:49:37",
            "1994-13-06T08:49:37Z",
            "19941106T084937Z",
            "s",
            "1s1m",
            "1s1s",
            "-1s",
            "1 s",
            "1m 2s",
            "1sec",
            "1..5s",
            "99999999999999999999s",
            "18446744073709551615h",
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
