//! Whatever a network sends is read without a panic, and what comes out keeps its promises.

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use paceline_core::UnixMillis;
use paceline_transport::error_body::{ServerError, Verdict};
use paceline_transport::headers::{RateHeaders, StatedLimit};
use paceline_transport::usage::{UsageReading, read_chat, read_pointer};
use paceline_transport::{ApiKey, BaseUrl};
use proptest::prelude::*;
use serde_json::Value;

const NAMES: [&str; 8] = [
    "x-ratelimit-limit-requests",
    "x-ratelimit-limit-tokens",
    "x-ratelimit-remaining-requests",
    "x-ratelimit-remaining-tokens",
    "retry-after",
    "retry-after-ms",
    "x-should-retry",
    "x-request-id",
];

/// Values near what a header may hold, and any other.
fn header_value() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        any::<u64>().prop_map(|number| number.to_string().into_bytes()),
        "[0-9.+-]{0,40}".prop_map(String::into_bytes),
        "[A-Z][a-z]{2}, [0-9]{2} [A-Z][a-z]{2} [0-9]{4} [0-9]{2}:[0-9]{2}:[0-9]{2} GMT"
            .prop_map(String::into_bytes),
        prop::collection::vec(any::<u8>(), 0..200),
    ]
}

fn headers() -> impl Strategy<Value = HeaderMap> {
    prop::collection::vec((0..NAMES.len(), header_value()), 0..20).prop_map(|pairs| {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            if let Ok(value) = HeaderValue::from_bytes(&value) {
                headers.append(HeaderName::from_static(NAMES[name]), value);
            }
        }
        headers
    })
}

/// JSON with the field names that are looked for.
fn json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (0_u64..200).prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
        Just(Value::from("Resets in: 9h Requests per Minute (actual/limit): 1/2")),
    ];
    let names = prop::sample::select(vec![
        "usage",
        "token_usage",
        "prompt_tokens",
        "input_tokens",
        "completion_tokens",
        "output_tokens",
        "total_tokens",
        "prompt_tokens_details",
        "output_tokens_details",
        "reasoning_tokens",
        "cached_tokens",
        "cost_in_usd_ticks",
        "error",
        "message",
        "code",
        "type",
    ]);
    leaf.prop_recursive(4, 40, 8, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((names.clone(), inner), 0..8).prop_map(|fields| {
                fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
            }),
        ]
    })
}

fn error_body() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        prop::collection::vec(any::<u8>(), 0..2_000),
        any::<String>().prop_map(String::into_bytes),
        json().prop_map(|value| value.to_string().into_bytes()),
        "(?s)<(html|title|!doctype).{0,50}</?title>.{0,20}".prop_map(String::into_bytes),
        ".{0,20}(Requests|Tokens) per (Second|Minute) \\(actual/limit\\):? ?[0-9]{0,25}/[0-9]{0,25}.{0,9}Resets in:?.{0,30}"
            .prop_map(String::into_bytes),
    ]
}

fn check_error(status: u16, headers: &RateHeaders, body: &[u8]) -> Result<(), TestCaseError> {
    let status = StatusCode::from_u16(status).expect("100 to 999");
    let error = ServerError::read(status, headers, body);
    // An escaped character takes ten at most.
    prop_assert!(error.message().chars().count() <= 500 * 10 + 1);
    prop_assert!(!error.message().chars().any(char::is_control));
    prop_assert!(!error.code().unwrap_or_default().chars().any(char::is_control));
    prop_assert!(error.rates().len() <= 8);
    if headers.should_retry() == Some(false) {
        prop_assert!(!matches!(error.verdict(), Verdict::Wait(_) | Verdict::Retry(_)));
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(512) })]

    #[test]
    fn on_any_headers_and_any_body(
        headers in headers(),
        status in 100_u16..1000,
        body in error_body(),
        now in any::<i64>(),
    ) {
        let read = RateHeaders::parse(&headers, UnixMillis::new(now));
        for (limit, left) in [
            (read.limit_requests(), read.remaining_requests()),
            (read.limit_tokens(), read.remaining_tokens()),
        ] {
            if let (Some(StatedLimit::Limit(limit)), Some(left)) = (limit, left) {
                prop_assert!(limit > 0 && left <= limit);
            }
        }
        for name in read.ignored() {
            prop_assert!(headers.contains_key(name));
        }
        check_error(status, &read, &body)?;
    }

    #[test]
    fn on_any_usage(answer in json(), pointer in "(/[a-z_]{0,12}){0,3}") {
        for reading in [read_chat(&answer), read_pointer(&answer, &pointer)] {
            if let UsageReading::Reported(usage) = reading {
                prop_assert!(usage.reasoning_tokens() <= usage.output_tokens());
                prop_assert!(usage.cached_input_tokens() <= usage.input_tokens());
                prop_assert!(usage.cost().is_none_or(|cost| cost.as_ticks() > 0));
            }
        }
    }

    #[test]
    fn a_whole_retry_after_is_that_many_seconds(seconds in 0..=1_000_000_000_u64) {
        let mut headers = HeaderMap::new();
        headers.insert("retry-after", HeaderValue::from(seconds));
        let read = RateHeaders::parse(&headers, UnixMillis::new(0));
        prop_assert_eq!(read.retry_after().map(|wait| wait.as_secs()), Some(seconds));
    }

    /// A moment in seconds up to 10¹², in milliseconds above.
    #[test]
    fn a_larger_one_is_a_moment(number in 1_000_000_001..=i64::MAX.unsigned_abs(), now in any::<u32>()) {
        let mut headers = HeaderMap::new();
        headers.insert("retry-after", HeaderValue::from(number));
        let read = RateHeaders::parse(&headers, UnixMillis::new(i64::from(now) * 1_000));
        let at = if number <= 1_000_000_000_000 { u128::from(number) * 1_000 } else { number.into() };
        let wait = at.saturating_sub(u128::from(now) * 1_000);
        prop_assert_eq!(read.retry_after().map(|wait| wait.as_millis()), Some(wait));
    }

    #[test]
    fn on_any_address_and_path(
        text in prop_oneof![
            any::<String>(),
            "(https?|ftp)://([a-zA-Z0-9.:@%\\[\\]-]{0,20})(/[ -~]{0,10})?",
        ],
        path in any::<String>(),
    ) {
        if let Ok(base) = BaseUrl::parse(&text) {
            let joined = base.join(&path);
            prop_assert_eq!(joined.host(), Some(base.host()));
            prop_assert!(joined.scheme_str() == Some("https") || base.is_loopback());
            prop_assert!(BaseUrl::parse(&base.to_string()).is_ok_and(|again| again == base));
        }
    }

    #[test]
    fn on_any_key(text in prop_oneof![any::<String>(), "[!-~]{1,64}"]) {
        if let Ok(key) = ApiKey::new(text.clone()) {
            let shown = format!("Bearer {text}");
            let sent = key.authorization();
            prop_assert_eq!(sent.as_bytes(), shown.as_bytes());
        }
    }
}
