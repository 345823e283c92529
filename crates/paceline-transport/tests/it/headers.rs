//! Rate-limit and retry headers, as recorded and as broken.

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};
use paceline_core::UnixMillis;
use paceline_transport::headers::{RateHeaders, StatedLimit};

fn parse(pairs: &[(&'static str, &str)]) -> RateHeaders {
    let mut headers = HeaderMap::new();
    for (name, value) in pairs {
        let value = HeaderValue::from_bytes(value.as_bytes()).unwrap();
        headers.append(HeaderName::from_static(name), value);
    }
    RateHeaders::parse(&headers, UnixMillis::new(784_111_777_000))
}

#[test]
fn a_recorded_answer_is_read_whole() {
    let read = parse(&[
        ("x-ratelimit-limit-requests", "1800"),
        ("x-ratelimit-remaining-requests", "1779"),
        ("x-ratelimit-limit-tokens", "10000000"),
        ("x-ratelimit-remaining-tokens", "10000000"),
        ("x-request-id", "0f5a31b2-7d5c-4a0e-9c55-1f4c7e1a2b3c"),
        ("x-metrics-ttft-ms", "170"),
    ]);
    assert_eq!(read.limit_requests(), Some(StatedLimit::Limit(1800)));
    assert_eq!(read.remaining_requests(), Some(1779));
    assert_eq!(read.limit_tokens(), Some(StatedLimit::Limit(10_000_000)));
    assert_eq!(read.remaining_tokens(), Some(10_000_000));
    assert_eq!(read.request_id(), Some("0f5a31b2-7d5c-4a0e-9c55-1f4c7e1a2b3c"));
    assert_eq!((read.retry_after(), read.should_retry()), (None, None));
    assert!(read.ignored().is_empty());
}

#[test]
fn an_answer_without_headers_says_nothing() {
    assert_eq!(parse(&[]), RateHeaders::default());
}

#[test]
fn both_maxima_mean_unlimited_and_count_down_all_the_same() {
    for maximum in ["9223372036854775807", "18446744073709551615"] {
        let read = parse(&[
            ("x-ratelimit-limit-tokens", maximum),
            ("x-ratelimit-remaining-tokens", "18446744073709548853"),
        ]);
        assert_eq!(read.limit_tokens(), Some(StatedLimit::Unlimited), "{maximum}");
        assert_eq!(read.remaining_tokens(), Some(u64::MAX - 2762));
        assert!(read.ignored().is_empty());
    }
    let near = parse(&[("x-ratelimit-limit-tokens", "9223372036854775806")]);
    assert_eq!(near.limit_tokens(), Some(StatedLimit::Limit(9_223_372_036_854_775_806)));
}

#[test]
fn what_is_malformed_is_absent_and_named_once() {
    for bad in ["", "-1", "+5", "1.5", "1e3", "18446744073709551616", "many", "1 2", "é", "0x10"] {
        let read = parse(&[
            ("x-ratelimit-limit-requests", bad),
            ("x-ratelimit-limit-requests", bad),
            ("x-ratelimit-remaining-tokens", bad),
            ("x-ratelimit-limit-tokens", "7"),
        ]);
        assert_eq!((read.limit_requests(), read.remaining_tokens()), (None, None), "{bad}");
        assert_eq!(read.limit_tokens(), Some(StatedLimit::Limit(7)));
        assert_eq!(
            read.ignored(),
            ["x-ratelimit-limit-requests", "x-ratelimit-remaining-tokens"],
            "{bad}"
        );
    }
}

#[test]
fn a_limit_of_zero_contradicts_the_answer_but_a_remainder_of_zero_does_not() {
    let read =
        parse(&[("x-ratelimit-limit-requests", "0"), ("x-ratelimit-remaining-requests", "0")]);
    assert_eq!((read.limit_requests(), read.remaining_requests()), (None, Some(0)));
    assert_eq!(read.ignored(), ["x-ratelimit-limit-requests"]);
}

#[test]
fn more_left_than_the_limit_allows_is_ignored() {
    let read =
        parse(&[("x-ratelimit-limit-requests", "60"), ("x-ratelimit-remaining-requests", "61")]);
    assert_eq!(
        (read.limit_requests(), read.remaining_requests()),
        (Some(StatedLimit::Limit(60)), None)
    );
    assert_eq!(read.ignored(), ["x-ratelimit-remaining-requests"]);
}

#[test]
fn of_several_values_the_tightest_counts() {
    let read = parse(&[
        ("x-ratelimit-limit-requests", "18446744073709551615"),
        ("x-ratelimit-limit-requests", "600"),
        ("x-ratelimit-limit-requests", "900"),
        ("retry-after", "2"),
        ("retry-after", "bad"),
        ("retry-after", "7"),
        ("retry-after", "3"),
        ("x-should-retry", "true"),
        ("x-should-retry", "FALSE"),
    ]);
    assert_eq!(read.limit_requests(), Some(StatedLimit::Limit(600)));
    assert_eq!(read.retry_after(), Some(Duration::from_secs(7)));
    assert_eq!(read.should_retry(), Some(false));
    assert_eq!(read.ignored(), ["retry-after"]);
}

#[test]
fn the_longer_of_seconds_and_milliseconds_counts() {
    for (seconds, millis, expected) in [("2", "1500", 2_000), ("1", "1500", 1_500)] {
        let read = parse(&[("retry-after", seconds), ("retry-after-ms", millis)]);
        assert_eq!(read.retry_after(), Some(Duration::from_millis(expected)));
    }
    let read = parse(&[("retry-after", "-1"), ("retry-after-ms", "1500.5")]);
    assert_eq!(read.retry_after(), Some(Duration::from_micros(1_500_500)));
    assert_eq!(read.ignored(), ["retry-after"]);
}

#[test]
fn a_date_is_counted_from_now() {
    let at = |date| parse(&[("retry-after", date)]).retry_after();
    assert_eq!(at("Sun, 06 Nov 1994 08:49:42 GMT"), Some(Duration::from_secs(5)));
    assert_eq!(at("Sun, 06 Nov 1994 08:49:37 GMT"), Some(Duration::ZERO));
    assert_eq!(at("Thu, 01 Jan 1970 00:00:00 GMT"), Some(Duration::ZERO));
    assert_eq!(at("0"), Some(Duration::ZERO));
}

#[test]
fn a_request_id_is_bounded_and_cannot_forge_a_log_line() {
    let long = "a".repeat(500);
    let read = parse(&[("x-request-id", &long)]);
    assert_eq!(read.request_id().unwrap().chars().count(), 129);
    let read = parse(&[("x-request-id", "a\tb")]);
    assert_eq!(read.request_id(), Some("a\\tb"));
    assert_eq!(parse(&[("x-request-id", "")]).request_id(), None);
}

#[test]
fn should_retry_takes_two_words_only() {
    assert_eq!(parse(&[("x-should-retry", "true")]).should_retry(), Some(true));
    let read = parse(&[("x-should-retry", "1")]);
    assert_eq!((read.should_retry(), read.ignored()), (None, &["x-should-retry"][..]));
}
