//! What goes wrong with a client of a paid, limited API, and the right answer: each test is named
//! after the row of the project's catalogue of faults.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Frame;
use paceline::core::Dimension;
use paceline::transport::mock::{Answer, MockTransport};
use paceline::transport::{
    Body, Reach, Transport, TransportError, TransportErrorKind, async_trait,
};
use paceline::{Chat, Client, ErrorKind, RetryPolicy};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::{GOOD, RATE, chat, held, held_or_used, limit, mocked};

/// A refusal for the rate that says nothing else.
const BARE: &str = r#"{"code": "resource-exhausted", "error": "Too many requests"}"#;

fn client(transport: &MockTransport) -> Client {
    mocked(transport).build().expect("legal settings")
}

fn tokens(client: &Client) -> u64 {
    held_or_used(client, Dimension::TotalTokens)
}

fn gaps(transport: &MockTransport) -> Vec<Duration> {
    let sent = transport.sent();
    sent.windows(2).map(|pair| pair[1].at() - pair[0].at()).collect()
}

/// One answer, and how a call ends that meets nothing else.
async fn ends(answer: Answer) -> (Client, MockTransport, Result<u32, ErrorKind>) {
    let transport = MockTransport::new().then(answer).always(Answer::new(200, GOOD));
    let client = client(&transport);
    let ended = client.chat(&chat()).await;
    let ended = ended.map(|reply| reply.attempts()).map_err(|error| error.kind());
    (client, transport, ended)
}

#[tokio::test(start_paused = true)]
async fn fault_01_without_retry_after_the_reset_of_what_is_used_up_is_the_hint() {
    let limited = |answer: Answer| {
        answer
            .header("x-ratelimit-remaining-requests", "0")
            .header("x-ratelimit-reset-requests", "9s")
            .header("x-ratelimit-remaining-tokens", "100")
            .header("x-ratelimit-reset-tokens", "40s")
    };
    for (retry_after, seconds) in [(None, 9), (Some("3"), 3)] {
        let answer = limited(Answer::new(429, BARE));
        let answer =
            retry_after.into_iter().fold(answer, |it, text| it.header("retry-after", text));
        let transport = MockTransport::new().then(answer).always(Answer::new(200, GOOD));
        let client = mocked(&transport).build().expect("legal settings");
        client.chat(&chat()).await.expect("the second attempt");
        let sent = transport.sent();
        let waited = sent[1].at() - sent[0].at();
        let least = Duration::from_secs(seconds);
        assert!((least..least + Duration::from_secs(3)).contains(&waited), "{waited:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn fault_01_a_hint_holds_for_everybody_on_that_model_and_for_nobody_else() {
    for after in ["7", "Wed, 21 Oct 2065 07:28:00 GMT"] {
        let transport = MockTransport::new()
            .then(Answer::new(429, BARE).header("retry-after", after))
            .always(Answer::new(200, GOOD));
        let policy = RetryPolicy::default().longest_wait(Duration::from_secs(1 << 32));
        let client = mocked(&transport).retry(policy).build().expect("legal settings");
        let mut calls = JoinSet::new();
        for _ in 0..10 {
            let client = client.clone();
            calls.spawn(async move { client.chat(&chat()).await });
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let other = Chat::new("grok-4.7").user("x");
        let asked = Instant::now();
        client.chat(&other).await.expect("another model");
        assert!(asked.elapsed() < Duration::from_secs(1));
        if after == "7" {
            let first = transport.sent()[0].at();
            calls.join_all().await.into_iter().for_each(|reply| _ = reply.expect("an answer"));
            let sent = transport.sent();
            let of_it = |sent: &&paceline::transport::mock::SentRequest| {
                String::from_utf8_lossy(sent.body()).contains("grok-4.3")
            };
            let early = sent
                .iter()
                .skip(1)
                .filter(of_it)
                .filter(|sent| sent.at() - first < Duration::from_secs(7));
            assert_eq!(early.count(), 0, "nobody goes before it");
        } else {
            tokio::time::sleep(Duration::from_secs(86_400)).await;
            assert!(calls.try_join_next().is_none(), "forty years are not over");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn fault_02_without_a_hint_the_pause_grows_and_is_jittered() {
    let transport = MockTransport::new()
        .answer(429, BARE)
        .answer(429, BARE)
        .answer(429, BARE)
        .answer(200, GOOD);
    client(&transport).chat(&chat()).await.expect("the fourth attempt");
    for (gap, seconds) in gaps(&transport).into_iter().zip([1, 2, 4]) {
        let most = Duration::from_secs(seconds);
        assert!(gap >= most / 2 && gap <= most + Duration::from_millis(300), "{gap:?} of {most:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn fault_03_a_hint_that_is_none_is_ignored_without_a_hot_loop() {
    for after in ["-1", "", "NaN", "inf", "soon", "99999999999999999999999", "0"] {
        let (_, transport, ended) = ends(Answer::new(429, BARE).header("retry-after", after)).await;
        assert_eq!(ended, Ok(2), "{after:?}");
        let gap = gaps(&transport)[0];
        assert!(
            gap >= Duration::from_millis(500) && gap < Duration::from_secs(2),
            "{after:?}: {gap:?}"
        );
    }
    let two = Answer::new(429, BARE).header("retry-after", "2").header("retry-after", "5");
    let (_, transport, _) = ends(two).await;
    assert!(gaps(&transport)[0] >= Duration::from_secs(5), "of two, the longer");
}

#[tokio::test(start_paused = true)]
async fn fault_04_a_hint_of_hours_comes_back_at_once_with_its_value() {
    let transport = MockTransport::new().then(Answer::new(429, BARE).header("retry-after", "7200"));
    let asked = Instant::now();
    let error = client(&transport).chat(&chat()).await.expect_err("too long");
    assert_eq!((error.kind(), error.attempts()), (ErrorKind::RateLimited, 1));
    assert_eq!(error.retry_after(), Some(Duration::from_secs(7_200)));
    assert!(asked.elapsed() < Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn fault_05_money_that_is_gone_ends_everything_whatever_its_status() {
    for status in [429, 403] {
        let spent = r#"{"code": "Some resource has been exhausted", "error": "Your team t has either used all available credits or reached its monthly spending limit."}"#;
        let (client, transport, ended) = ends(Answer::new(status, spent)).await;
        assert_eq!(ended, Err(ErrorKind::NoCredits));
        client.chat(&chat()).await.expect_err("it is remembered");
        assert_eq!(transport.calls(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn fault_06_what_was_refused_before_generation_is_retried_and_what_may_have_been_billed_is_not()
 {
    for status in [503, 529] {
        let (client, _, ended) = ends(Answer::new(status, "{}")).await;
        assert_eq!(ended, Ok(2), "{status}");
        assert_eq!(tokens(&client), 140, "the first cost nothing");
    }
    for status in [500, 502, 504, 520, 522, 524] {
        let (client, transport, ended) = ends(Answer::new(status, "{}")).await;
        assert_eq!((ended, transport.calls()), (Err(ErrorKind::MaybeCharged), 1), "{status}");
        assert!(tokens(&client) > 140 && held(&client) == 0, "{status}: possible spend is kept");
    }
}

#[tokio::test(start_paused = true)]
async fn fault_07_each_other_status_has_one_answer() {
    for status in [408, 409] {
        assert_eq!(ends(Answer::new(status, "{}")).await.2, Err(ErrorKind::MaybeCharged));
    }
    for status in [400, 404, 405, 413, 415, 422] {
        let (client, transport, ended) = ends(Answer::new(status, "{}")).await;
        assert_eq!((ended, transport.calls()), (Err(ErrorKind::Rejected), 1), "{status}");
        assert_eq!(tokens(&client), 0, "{status}: nothing was made");
        client.chat(&chat()).await.expect("the next call is another");
    }
    let wrong_key =
        r#"{"code": "invalid-argument", "error": "Incorrect API key provided: ab***cd."}"#;
    for (status, body) in [(400, wrong_key), (401, "{}"), (403, "{}")] {
        let (client, transport, ended) = ends(Answer::new(status, body)).await;
        assert!(matches!(ended, Err(ErrorKind::Key | ErrorKind::NoEntitlement)), "{status}");
        client.chat(&chat()).await.expect_err("everything on that key stops");
        assert_eq!(transport.calls(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn fault_08_a_key_that_is_revoked_amid_a_run_stops_all_of_it() {
    let transport = MockTransport::new()
        .answer(200, GOOD)
        .always(Answer::new(401, r#"{"error": "Invalid or missing authorization"}"#));
    let client = client(&transport);
    client.chat(&chat()).await.expect("still good");
    let calls: Vec<_> = (0..500)
        .map(|_| {
            let client = client.clone();
            tokio::spawn(async move { client.chat(&chat()).await })
        })
        .collect();
    for call in calls {
        let error = call.await.expect("no panic").expect_err("revoked");
        assert!(error.ends_everything());
    }
    // Those that left in the same moment, by the limit per second; none after the first answer.
    assert!(transport.calls() <= 40, "{}", transport.calls());
}

fn stating(requests: &str) -> Answer {
    Answer::new(200, GOOD).header("x-ratelimit-limit-requests", requests)
}

#[tokio::test(start_paused = true)]
async fn fault_09_a_lowered_limit_holds_at_once_and_a_raised_one_mints_no_burst() {
    let transport =
        MockTransport::new().then(stating("1800")).then(stating("60")).always(stating("60"));
    let client = client(&transport);
    for _ in 0..2 {
        client.chat(&chat()).await.expect("an answer");
    }
    assert_eq!(limit(&client, Dimension::Requests, 60), Some(60));
    let asked = Instant::now();
    for _ in 0..61 {
        client.chat(&chat()).await.expect("an answer");
    }
    assert!(asked.elapsed() >= Duration::from_secs(59), "{:?}", asked.elapsed());

    let transport = MockTransport::new().then(stating("60")).always(stating("6000"));
    let client = self::client(&transport);
    let mut calls = JoinSet::new();
    for _ in 0..400 {
        let client = client.clone();
        calls.spawn(async move { client.chat(&chat()).await.is_ok() });
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    let sent = transport.sent();
    // 6,000 a minute are 125 a second.
    let most = sent.iter().map(|first| {
        sent.iter()
            .filter(|other| {
                other.at() >= first.at() && other.at() - first.at() < Duration::from_secs(1)
            })
            .count()
    });
    assert!(most.max() <= Some(125), "no burst beyond the second's limit");
}

#[tokio::test(start_paused = true)]
async fn fault_10_headers_that_make_no_sense_change_nothing() {
    for value in ["-5", "0", "1e9", "many", "", "99999999999999999999999999", "1800.5"] {
        let (client, _, ended) = ends(stating(value)).await;
        assert_eq!(ended, Ok(1), "{value:?}");
        assert_eq!(limit(&client, Dimension::Requests, 60), Some(1_800), "{value:?}: the table's");
    }
}

#[tokio::test(start_paused = true)]
async fn fault_12_a_good_status_with_a_bad_body_is_an_error_and_was_charged() {
    for body in [
        "<html><body>Just a moment</body></html>",
        r#"{"code": "unavailable", "error": "The service is currently unavailable"}"#,
        "",
        "{\"choices\": [",
    ] {
        let (client, transport, ended) = ends(Answer::new(200, body)).await;
        assert_eq!((ended, transport.calls()), (Err(ErrorKind::BadAnswer), 1), "{body:?}");
        assert!(tokens(&client) > 140 && held(&client) == 0);
    }
}

#[tokio::test(start_paused = true)]
async fn fault_13_14_15_20_a_failed_attempt_is_judged_by_whether_it_left() {
    use TransportErrorKind::{Connect, Dns, Reset, Tls};
    // (how it failed, whether it left, attempts with a policy that may bill twice, and without)
    for (kind, reach, twice, once) in [
        (Dns, Reach::NotSent, Ok(2), Ok(2)),
        (Connect, Reach::NotSent, Ok(2), Ok(2)),
        // A stream that the server refused: it processed nothing of it.
        (Reset, Reach::NotSent, Ok(2), Ok(2)),
        (Tls, Reach::NotSent, Err(ErrorKind::Settings), Err(ErrorKind::Settings)),
        (Reset, Reach::MaybeSent, Ok(2), Err(ErrorKind::MaybeCharged)),
    ] {
        for (policy, expected) in
            [(RetryPolicy::default().may_bill_twice(), twice), (RetryPolicy::default(), once)]
        {
            let transport = MockTransport::new().fail(kind, reach).always(Answer::new(200, GOOD));
            let client = mocked(&transport).retry(policy).build().expect("legal settings");
            let ended = client.chat(&chat()).await;
            let ended = ended.map(|reply| reply.attempts()).map_err(|error| error.kind());
            assert_eq!(ended, expected, "{kind:?} {reach:?}");
            let first = tokens(&client) - if ended.is_ok() { 140 } else { 0 };
            assert_eq!(first > 0, reach == Reach::MaybeSent, "{kind:?} {reach:?}: {first}");
            assert_eq!(held(&client), 0);
        }
    }
}

/// A body of these pieces, and then this end.
struct Pieces(Vec<&'static str>, End);

#[derive(Clone, Copy)]
enum End {
    Broken,
    Never,
}

impl http_body::Body for Pieces {
    type Data = Bytes;
    type Error = TransportError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, TransportError>>> {
        if !self.0.is_empty() {
            let piece = self.0.remove(0);
            return Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(piece.as_bytes())))));
        }
        match self.1 {
            End::Never => Poll::Pending,
            End::Broken => Poll::Ready(Some(Err(TransportError::new(
                TransportErrorKind::Reset,
                Reach::MaybeSent,
            )))),
        }
    }
}

/// Answers whose bodies end in an odd way.
#[derive(Debug)]
struct Odd {
    pieces: &'static [&'static str],
    end: fn() -> End,
    calls: AtomicU64,
}

#[async_trait]
impl Transport for Odd {
    async fn send(&self, _: Request<Bytes>) -> Result<Response<Body>, TransportError> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        Ok(Response::new(Body::new(Pieces(self.pieces.to_vec(), (self.end)()))))
    }
}

fn odd(pieces: &'static [&'static str], end: fn() -> End) -> (Client, Arc<Odd>) {
    let transport = Arc::new(Odd { pieces, end, calls: AtomicU64::new(0) });
    let client = Client::builder()
        .base_url("http://127.0.0.1:1/v1")
        .transport(Arc::clone(&transport))
        .build()
        .expect("legal settings");
    (client, transport)
}

#[tokio::test(start_paused = true)]
async fn fault_16_a_body_that_breaks_off_may_have_been_charged() {
    let (client, transport) = odd(&["{\"choices\": ["], || End::Broken);
    let error = client.chat(&chat()).await.expect_err("broken");
    assert_eq!(
        (error.kind(), transport.calls.load(Ordering::Relaxed)),
        (ErrorKind::MaybeCharged, 1)
    );
    assert!(tokens(&client) > 140 && held(&client) == 0);
}

#[tokio::test(start_paused = true)]
async fn fault_18_a_stream_is_over_when_it_says_so_though_its_body_never_ends() {
    let (client, _) = odd(
        &[
            "data: {\"choices\": [{\"delta\": {\"content\": \"So\"}}]}\n\n",
            "data: {\"choices\": [], \"usage\": {\"prompt_tokens\": 1, \"completion_tokens\": 1, \"total_tokens\": 2}}\n\n",
            "data: [DONE]\n\n",
        ],
        || End::Never,
    );
    let mut answer = client.chat_stream(&chat()).await.expect("an answer");
    assert_eq!(answer.collect_text().await.expect("it ends"), "So");
    assert_eq!(answer.usage().map(|usage| usage.total_tokens()), Some(2));
}

#[tokio::test(start_paused = true)]
async fn fault_23_a_usage_of_zero_is_zero() {
    let zero = r#"{"choices": [], "usage": {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}}"#;
    let (client, _, ended) = ends(Answer::new(200, zero)).await;
    assert_eq!((ended, tokens(&client)), (Ok(1), 0));
}

#[tokio::test(start_paused = true)]
async fn fault_24_more_than_was_reserved_is_counted_and_less_comes_back() {
    let large = r#"{"choices": [], "usage": {"prompt_tokens": 900000, "completion_tokens": 100000, "total_tokens": 1000000}}"#;
    let (client, _, _) = ends(Answer::new(200, large)).await;
    assert_eq!((tokens(&client), held(&client)), (1_000_000, 0));
    let (client, _, _) = ends(Answer::new(200, GOOD)).await;
    assert_eq!((tokens(&client), held(&client)), (140, 0));
}

#[tokio::test(start_paused = true)]
async fn fault_25_a_usage_that_can_not_be_keeps_what_was_reserved() {
    for usage in [
        r#"{"prompt_tokens": -1, "completion_tokens": 5, "total_tokens": 4}"#,
        r#"{"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 9}"#,
        r#"{"prompt_tokens": 1e30, "completion_tokens": 5, "total_tokens": 1e30}"#,
        r#"{"prompt_tokens": 99999999999999999999, "completion_tokens": 5, "total_tokens": 6}"#,
        r#"{"prompt_tokens": "ten", "total_tokens": 20}"#,
        r"[1, 2]",
    ] {
        let body = format!(r#"{{"choices": [], "usage": {usage}}}"#);
        let (client, _, ended) = ends(Answer::new(200, body)).await;
        assert_eq!(ended, Ok(1), "{usage}: the answer itself is good");
        assert!(tokens(&client) > 140 && held(&client) == 0, "{usage}");
        assert_eq!(client.accuracy().count, 0, "{usage}: nothing is learned from it");
    }
}

#[tokio::test(start_paused = true)]
async fn fault_27_a_call_larger_than_its_limit_is_refused_at_once() {
    let transport = MockTransport::new();
    let few = std::num::NonZeroU64::new(1_000).expect("not zero");
    let client = mocked(&transport).tokens_per_minute(few).build().expect("legal settings");
    let huge = Chat::new("grok-4.3").user("word ".repeat(20_000));
    let error = client.chat(&huge).await.expect_err("it never fits");
    assert_eq!((error.kind(), transport.calls()), (ErrorKind::TooLarge, 0));
    assert_eq!(held(&client), 0);
}

#[tokio::test(start_paused = true)]
async fn fault_30_one_who_stops_waiting_gives_its_place_to_the_next() {
    let transport = MockTransport::new()
        .then(Answer::new(429, RATE).header("retry-after", "30"))
        .always(Answer::new(200, GOOD));
    let client = client(&transport);
    let asked = chat();
    let first = client.chat(&asked);
    let second = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        client.chat(&chat()).await
    };
    let gone = tokio::time::timeout(Duration::from_secs(10), first);
    let (gone, second) = tokio::join!(gone, second);
    assert!(gone.is_err());
    second.expect("it comes after the pause");
    let now = client.limits().expect("our own limiter");
    assert_eq!((now.waiting, now.in_flight, held(&client)), (0, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn fault_32_a_panic_in_the_transport_leaves_nothing_held() {
    #[derive(Debug)]
    struct Panics;
    #[async_trait]
    impl Transport for Panics {
        async fn send(&self, _: Request<Bytes>) -> Result<Response<Body>, TransportError> {
            tokio::task::yield_now().await;
            panic!("somebody else's code")
        }
    }
    let client = Client::builder()
        .base_url("http://127.0.0.1:1/v1")
        .transport(Panics)
        .build()
        .expect("legal settings");
    for _ in 0..3 {
        let client = client.clone();
        let call = tokio::spawn(async move { client.chat(&chat()).await });
        call.await.expect_err("it panics");
    }
    let now = client.limits().expect("our own limiter");
    assert_eq!((now.in_flight, held(&client)), (0, 0));
    assert!(tokens(&client) > 0, "they may have been charged");
}

#[tokio::test(start_paused = true)]
async fn fault_36_there_is_one_layer_of_retries() {
    let transport = MockTransport::new().always(Answer::new(503, "{}"));
    let client = client(&transport);
    let error = client.chat(&chat()).await.expect_err("it stays so");
    assert_eq!((u64::from(error.attempts()), transport.calls()), (5, 5));
}
