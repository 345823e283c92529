//! Rate-limit and retry headers, as recorded and as broken.

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};
use paceline_core::{Dimension, UnixMillis};
use paceline_transport::headers::{RateHeaders, StatedLimit, StatedRate};

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
        parse(&[("x-ratelimit-limit-requests", "9"), ("x-ratelimit-remaining-requests", "0")]);
    assert_eq!(read.limit_requests(), Some(StatedLimit::Limit(9)));
    assert_eq!(read.remaining_requests(), Some(0));
    let read = parse(&[("x-ratelimit-remaining-requests", "0")]);
    assert_eq!((read.limit_requests(), read.remaining_requests()), (None, Some(0)));
    assert!(read.ignored().is_empty());
}

/// Azure's way of saying that it does not know: both, where the limit would have to be positive.
#[test]
fn zero_and_minus_one_mean_unknown_beside_a_limit() {
    for unknown in ["0", "-1"] {
        let read = parse(&[
            ("x-ratelimit-limit-requests", unknown),
            ("x-ratelimit-remaining-requests", unknown),
            ("x-ratelimit-limit-tokens", "100"),
        ]);
        assert_eq!((read.limit_requests(), read.remaining_requests()), (None, None));
        assert_eq!(read.rates().len(), 1, "{unknown}");
        assert_eq!(
            read.ignored(),
            ["x-ratelimit-limit-requests", "x-ratelimit-remaining-requests"],
            "{unknown}"
        );
    }
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
    assert_eq!(read.should_retry(), None);
    assert_eq!(read.ignored(), ["x-should-retry"]);
}

/// Dimension, window in seconds, limit, what is left, and milliseconds until it resets.
type Rate = (Option<Dimension>, Option<u64>, Option<u64>, Option<u64>, Option<u64>);

fn rates(pairs: &[(&'static str, &str)]) -> Vec<Rate> {
    let read = parse(pairs);
    let ms = |time: Duration| u64::try_from(time.as_millis()).unwrap();
    let rate = |rate: &StatedRate| {
        let limit = rate.limit().map(|limit| match limit {
            StatedLimit::Limit(limit) => limit,
            StatedLimit::Unlimited => u64::MAX,
        });
        let window = rate.window().map(|window| window.as_secs());
        (rate.dimension(), window, limit, rate.remaining(), rate.reset_after().map(ms))
    };
    assert!(read.ignored().is_empty(), "{:?}", read.ignored());
    read.rates().iter().map(rate).collect()
}

const MINUTE: Option<u64> = Some(60);
const DAY: Option<u64> = Some(86_400);

#[test]
fn openai_s_resets_are_durations_and_longer_ones_are_of_a_longer_window() {
    let read = rates(&[
        ("x-ratelimit-limit-requests", "5000"),
        ("x-ratelimit-limit-tokens", "160000"),
        ("x-ratelimit-remaining-requests", "4999"),
        ("x-ratelimit-remaining-tokens", "159984"),
        ("x-ratelimit-reset-requests", "12ms"),
        ("x-ratelimit-reset-tokens", "6ms"),
        ("x-ratelimit-limit-tokens_usage_based", "20000"),
        ("x-ratelimit-reset-tokens_usage_based", "6m0s"),
    ]);
    let (requests, tokens) = (Some(Dimension::Requests), Some(Dimension::TotalTokens));
    assert_eq!(
        read,
        [
            (requests, MINUTE, Some(5_000), Some(4_999), Some(12)),
            (tokens, MINUTE, Some(160_000), Some(159_984), Some(6)),
            (tokens, None, Some(20_000), None, Some(360_000)),
        ]
    );
}

#[test]
fn groq_s_requests_of_a_day_are_not_taken_for_those_of_a_minute() {
    let pairs = [
        ("x-ratelimit-limit-requests", "14400"),
        ("x-ratelimit-remaining-requests", "14370"),
        ("x-ratelimit-reset-requests", "2m59.56s"),
        ("x-ratelimit-limit-tokens", "18000"),
        ("x-ratelimit-remaining-tokens", "17997"),
        ("x-ratelimit-reset-tokens", "7.66s"),
    ];
    let (requests, tokens) = (Some(Dimension::Requests), Some(Dimension::TotalTokens));
    assert_eq!(
        rates(&pairs),
        [
            (requests, None, Some(14_400), Some(14_370), Some(179_560)),
            (tokens, MINUTE, Some(18_000), Some(17_997), Some(7_660)),
        ]
    );
    let read = parse(&pairs);
    assert_eq!((read.limit_requests(), read.remaining_requests()), (None, None));
    assert_eq!(read.limit_tokens(), Some(StatedLimit::Limit(18_000)));
}

#[test]
fn anthropic_s_tokens_are_of_three_kinds_and_its_resets_are_timestamps() {
    let read = rates(&[
        ("anthropic-ratelimit-requests-limit", "50"),
        ("anthropic-ratelimit-requests-remaining", "49"),
        ("anthropic-ratelimit-requests-reset", "1994-11-06T08:49:38Z"),
        ("anthropic-ratelimit-input-tokens-limit", "50000"),
        ("anthropic-ratelimit-input-tokens-remaining", "0"),
        ("anthropic-ratelimit-input-tokens-reset", "1994-11-06T08:50:07Z"),
        ("anthropic-ratelimit-output-tokens-limit", "10000"),
        ("anthropic-ratelimit-tokens-limit", "60000"),
        ("anthropic-ratelimit-unified-5h-reset", "60"),
    ]);
    assert_eq!(
        read,
        [
            (Some(Dimension::Requests), MINUTE, Some(50), Some(49), Some(1_000)),
            (Some(Dimension::InputTokens), MINUTE, Some(50_000), Some(0), Some(30_000)),
            (Some(Dimension::OutputTokens), MINUTE, Some(10_000), None, None),
            (Some(Dimension::TotalTokens), MINUTE, Some(60_000), None, None),
            (None, None, None, None, Some(60_000)),
        ]
    );
}

#[test]
fn azure_s_resets_are_seconds_and_mistral_and_fireworks_have_words_of_their_own() {
    let (requests, tokens) = (Some(Dimension::Requests), Some(Dimension::TotalTokens));
    let azure = rates(&[
        ("x-ratelimit-limit-requests", "60"),
        ("x-ratelimit-remaining-requests", "0"),
        ("x-ratelimit-reset-requests", "43"),
    ]);
    assert_eq!(azure, [(requests, MINUTE, Some(60), Some(0), Some(43_000))]);
    let mistral = rates(&[
        ("x-ratelimit-limit-tokens-minute", "500000"),
        ("x-ratelimit-remaining-tokens-minute", "499900"),
        ("x-ratelimit-limit-req-minute", "60"),
        ("x-ratelimit-remaining-req-minute", "59"),
    ]);
    assert_eq!(
        mistral,
        [
            (tokens, MINUTE, Some(500_000), Some(499_900), None),
            (requests, MINUTE, Some(60), Some(59), None),
        ]
    );
    let fireworks = rates(&[
        ("x-ratelimit-limit-tokens-prompt", "60000"),
        ("x-ratelimit-limit-tokens-generated", "6000"),
        ("x-ratelimit-limit-requests-day", "1000"),
    ]);
    assert_eq!(
        fireworks,
        [
            (Some(Dimension::InputTokens), MINUTE, Some(60_000), None, None),
            (Some(Dimension::OutputTokens), MINUTE, Some(6_000), None, None),
            (requests, DAY, Some(1_000), None, None),
        ]
    );
}

#[test]
fn the_ietf_s_fields_are_joined_by_the_name_of_the_policy() {
    let read = rates(&[
        ("ratelimit-policy", "\"burst\";q=100;w=60"),
        ("ratelimit-policy", "\"daily\";q=1000;w=86400, \"tok\";q=9;qu=\"tokens\";w=60"),
        ("ratelimit", "\"burst\";r=50;t=30"),
        ("ratelimit", "\"other\";r=7"),
    ]);
    assert_eq!(
        read,
        [
            (Some(Dimension::Requests), MINUTE, Some(100), Some(50), Some(30_000)),
            (Some(Dimension::Requests), None, None, Some(7), None),
            (Some(Dimension::Requests), DAY, Some(1_000), None, None),
            (Some(Dimension::TotalTokens), MINUTE, Some(9), None, None),
        ]
    );
}

#[test]
fn the_ietf_s_older_forms_are_read_too() {
    let requests = Some(Dimension::Requests);
    let dictionary = rates(&[
        ("ratelimit-policy", "100;w=60, 1000;w=3600;comment=\"hour\""),
        ("ratelimit", "limit=100, remaining=50, reset=30"),
    ]);
    assert_eq!(
        dictionary,
        [
            (requests, MINUTE, Some(100), Some(50), Some(30_000)),
            (requests, Some(3_600), Some(1_000), None, None),
        ]
    );
    let three = rates(&[
        ("ratelimit-limit", "100"),
        ("ratelimit-remaining", "50"),
        ("ratelimit-reset", "30"),
    ]);
    assert_eq!(three, [(None, None, Some(100), Some(50), Some(30_000))]);
}

#[test]
fn what_is_malformed_in_the_ietf_s_fields_is_ignored_whole() {
    for (name, value) in [
        ("ratelimit", "\"a\";r=-1"),
        ("ratelimit", "\"a\";r=1.5"),
        ("ratelimit", "\"a\""),
        ("ratelimit", "\"a\";r=1, \"b\""),
        ("ratelimit", "\"a;r=1"),
        ("ratelimit", "(\"a\");r=1"),
        ("ratelimit", "limit=5, reset=1"),
        ("ratelimit", ""),
        ("ratelimit-policy", "\"a\";w=60"),
        ("ratelimit-policy", "\"a\";q=5;w=0"),
        ("ratelimit-policy", "\"a\";q=5;qu=requests"),
        ("ratelimit-policy", "\"a\";q=5;qu=\"content-bytes\""),
        ("ratelimit-policy", "\"a\";q=9999999999999999"),
    ] {
        let read = parse(&[(name, value)]);
        assert!(read.rates().is_empty(), "{value}: {:?}", read.rates());
        assert_eq!(read.ignored(), [name], "{value}");
    }
    let contradiction =
        parse(&[("ratelimit-policy", "\"a\";q=5;w=60"), ("ratelimit", "\"a\";r=6")]);
    assert!(contradiction.rates().iter().all(|rate| rate.remaining().is_none()));
}

#[test]
fn moments_are_compared_with_the_server_s_own_date() {
    let read = parse(&[
        ("date", "Tue, 05 Nov 2024 08:49:37 GMT"),
        ("retry-after", "Tue, 05 Nov 2024 08:49:42 GMT"),
        ("x-ratelimit-reset-requests", "1730796580"),
    ]);
    assert_eq!(read.retry_after(), Some(Duration::from_secs(5)));
    assert_eq!(read.rates()[0].reset_after(), Some(Duration::from_secs(3)));
}

#[test]
fn what_is_used_up_comes_back_at_the_longest_of_its_resets() {
    let read = parse(&[
        ("x-ratelimit-remaining-requests", "0"),
        ("x-ratelimit-reset-requests", "2s"),
        ("x-ratelimit-remaining-tokens", "0"),
        ("x-ratelimit-reset-tokens", "7s"),
        ("anthropic-ratelimit-requests-remaining", "3"),
        ("anthropic-ratelimit-requests-reset", "30"),
    ]);
    assert_eq!(read.exhausted_for(), Some(Duration::from_secs(7)));
    assert_eq!(parse(&[("x-ratelimit-reset-requests", "2s")]).exhausted_for(), None);
}

#[test]
fn names_that_are_not_known_are_named_and_however_many_there_are_few_are_kept() {
    let read = parse(&[("x-ratelimit-tokens-query-cost", "7"), ("x-ratelimit-limit-tokens", "9")]);
    assert_eq!(read.ignored(), ["x-ratelimit-tokens-query-cost"]);
    assert_eq!(read.limit_tokens(), Some(StatedLimit::Limit(9)));
    let mut headers = HeaderMap::new();
    for number in 0..500 {
        let name = format!("x-ratelimit-limit-tokens_{number}");
        headers.insert(HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from(7));
        let name = format!("x-ratelimit-other-{number}");
        headers.insert(HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from(7));
    }
    let read = RateHeaders::parse(&headers, UnixMillis::new(0));
    assert_eq!((read.rates().len(), read.ignored().len()), (32, 16));
}
