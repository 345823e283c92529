//! Servers that count tokens as others do, over their answers alone.

use std::time::Duration;

use http::StatusCode;
use paceline_sim::http::{Grok, ServerRules};
use paceline_sim::token_rule::TokenRule;
use serde_json::json;
use tokio::time::{Instant, sleep, sleep_until};

use super::{body, chat, header, instant, post, start};

/// A server of these rules.
fn server(rules: &str) -> Grok {
    start(rules.parse::<ServerRules>().expect("legal rules").apply(instant()))
}

/// Calls until one is refused; what all of them used, by their own answers.
async fn fill(grok: &Grok) -> u64 {
    let mut used = 0;
    for _ in 0..1_000 {
        let answer = chat(grok, "Fill it.").await;
        if answer.status() == StatusCode::TOO_MANY_REQUESTS {
            return used;
        }
        used += body(&answer)["usage"]["total_tokens"].as_u64().expect("usage");
    }
    panic!("nothing is refused");
}

fn is_refused(status: StatusCode) -> bool {
    status == StatusCode::TOO_MANY_REQUESTS
}

#[tokio::test(start_paused = true)]
async fn a_minute_of_the_clock_is_empty_when_it_begins_and_a_sliding_one_is_not() {
    for (window, again) in
        [("aligned", 4_000..6_000), ("sliding", 0..1), ("two-counters", 0..1_000)]
    {
        let began = Instant::now();
        let grok = server(&format!("window = \"{window}\"\ntokens_per_minute = 5000"));
        sleep(Duration::from_secs(50)).await;
        let used = fill(&grok).await;
        assert!(used > 4_000, "{window}: {used}");
        sleep_until(began + Duration::from_secs(61)).await;
        let used = fill(&grok).await;
        assert!(again.contains(&used), "{window}: {used} a minute of the clock later");
        sleep_until(began + Duration::from_secs(185)).await;
        assert_eq!(chat(&grok, "And now?").await.status(), StatusCode::OK, "{window}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_bucket_holds_its_capacity_and_is_refilled_all_the_time() {
    let grok = server("window = \"bucket\"\ncapacity = 1000\ntokens_per_minute = 60000");
    let used = fill(&grok).await;
    let counted = grok.stats().models["grok-4.3"];
    assert_eq!((counted.most_tokens, counted.tokens), (used, used), "nothing has come back yet");
    assert_eq!((counted.requests, counted.tokens_per_minute), (grok.stats().arrived, Some(60_000)));
    assert!((500..2_500).contains(&used), "{used}: what is in flight may pass it");
    let answer = chat(&grok, "At once?").await;
    assert!(is_refused(answer.status()));
    let text = body(&answer)["error"].as_str().expect("text").to_owned();
    assert!(text.contains("/1000"), "its capacity is what is told: {text}");
    // 1,000 a second.
    sleep(Duration::from_secs(3)).await;
    assert_eq!(chat(&grok, "Later?").await.status(), StatusCode::OK);
}

#[tokio::test(start_paused = true)]
async fn what_is_held_counts_at_its_most_until_it_is_over() {
    let grok = server("charge = \"held\"\ntokens_per_minute = 5000");
    let ask = |cap: u64| {
        let messages = json!([{ "role": "user", "content": "Hello" }]);
        let body =
            json!({ "model": "grok-4.3", "messages": messages, "max_completion_tokens": cap });
        post(&grok, "/v1/chat/completions", body)
    };
    assert!(is_refused(ask(6_000).await.status()), "it could use more than there is");
    assert_eq!(ask(4_000).await.status(), StatusCode::OK);
    // The first is over, and only what it used counts.
    assert_eq!(ask(4_000).await.status(), StatusCode::OK);
    let on_completion = server("tokens_per_minute = 5000");
    let messages = json!([{ "role": "user", "content": "Hello" }]);
    let large =
        json!({ "model": "grok-4.3", "messages": messages, "max_completion_tokens": 6_000 });
    let answer = post(&on_completion, "/v1/chat/completions", large).await;
    assert_eq!(answer.status(), StatusCode::OK, "a cap means nothing to it");
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_charged_on_arrival_is_in_its_own_headers() {
    let left = |rules: &str| {
        let grok = server(&format!("{rules}\ntokens_per_minute = 50000\npristine_every = 0"));
        async move {
            let answer = chat(&grok, "Hello").await;
            let total = body(&answer)["usage"]["total_tokens"].as_u64().expect("usage");
            (header(&answer, "x-ratelimit-remaining-tokens"), 50_000 - total)
        }
    };
    let (told, after) = left("charge = \"arrival\"").await;
    assert_eq!(told, Some(after));
    let (told, _) = left("charge = \"completion\"").await;
    assert_eq!(told, Some(50_000));
    let (told, _) = left("rate_headers = false").await;
    assert_eq!(told, None);
}

#[tokio::test(start_paused = true)]
async fn a_refusal_says_when_to_come_back_where_the_rules_say_so() {
    for (rules, says) in [("retry_after_s = 7", Some(7)), ("", None)] {
        let grok = server(&format!("{rules}\nrequests_per_minute = 1"));
        assert_eq!(chat(&grok, "One").await.status(), StatusCode::OK);
        let refused = chat(&grok, "Two").await;
        assert!(is_refused(refused.status()));
        assert_eq!(header(&refused, "retry-after"), says);
    }
}

/// Each named one, against the sum of its own answers.
#[tokio::test(start_paused = true)]
async fn every_named_server_lets_about_its_limit_through_in_ten_minutes() {
    for (name, rule) in TokenRule::NAMED {
        let limits = paceline_sim::rules::Limits::new().rps(1_000).rpm(60_000).tpm(30_000);
        let grok = start(instant().limits(limits).token_rule(rule));
        let (began, mut used) = (Instant::now(), 0);
        while began.elapsed() < Duration::from_secs(600) {
            let answer = chat(&grok, "More.").await;
            if is_refused(answer.status()) {
                sleep(Duration::from_millis(500)).await;
            } else {
                used += body(&answer)["usage"]["total_tokens"].as_u64().expect("usage");
            }
        }
        // Ten minutes' worth, a bucket's first fill, and calls that are let in above the limit; calls
        // that are held at 4,096 more keep a seventh of it free.
        assert!((235_000..=345_000).contains(&used), "{name}: {used}");
    }
}
