//! Another client behind the limits: what it is told, what is counted, and that nothing is sent twice.

use std::convert::Infallible;
use std::io;
use std::num::NonZeroU64;
use std::time::Duration;

use async_openai::config::OpenAIConfig;
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use paceline::core::Dimension;
use paceline::tower::async_openai::OpenAiService;
use paceline::tower::reqwest::ReqwestAdapter;
use paceline::tower::{PacedError, PacedLayer};
use paceline::transport::mock::MockTransport;
use paceline::{Client, ErrorKind, EventKind};
use paceline_sim::http::{Fault, Latency, Server, ServerOptions};
use paceline_sim::rules::Limits;
use serde_json::Value;
use tower::{Layer, Service, ServiceExt, service_fn};

use crate::{GOOD, RATE, held, held_or_used, limit, mocked};

const CHAT: &str =
    r#"{"model": "grok-4.3", "messages": [{"role": "user", "content": "What is a spider?"}]}"#;

fn client() -> Client {
    mocked(&MockTransport::new()).build().expect("legal settings")
}

fn chat() -> Request<&'static str> {
    Request::post("http://127.0.0.1:1/v1/chat/completions").body(CHAT).expect("legal")
}

fn answer(status: u16, body: &'static str) -> Response<Full<Bytes>> {
    let answer = Response::builder().status(status);
    answer.body(Full::new(Bytes::from_static(body.as_bytes()))).expect("legal")
}

/// Whatever is asked, this answer.
async fn through(
    client: &Client,
    request: Request<&'static str>,
    status: u16,
    body: &'static str,
) -> Bytes {
    let inner = service_fn(move |_: Request<&'static str>| async move {
        Ok::<_, Infallible>(answer(status, body))
    });
    let mut service = PacedLayer::new(client.clone()).layer(inner);
    let answer = service.ready().await.expect("ready").call(request).await.expect("an answer");
    answer.into_body().collect().await.expect("a body").to_bytes()
}

#[tokio::test(start_paused = true)]
async fn an_answer_goes_through_unchanged_and_is_counted_recorded_and_learned_from() {
    let client = client();
    let mut events = client.events();
    assert_eq!(through(&client, chat(), 200, GOOD).await, GOOD);
    assert_eq!((held(&client), held_or_used(&client, Dimension::TotalTokens)), (0, 140));
    let told: Vec<_> = std::iter::from_fn(|| events.try_next())
        .filter(|event| event.call.is_some())
        .map(|event| event.kind.name())
        .collect();
    assert_eq!(told, ["estimated", "admitted", "sent", "head", "settled"]);
    assert_eq!(client.accuracy().count, 1, "it was learned from");
}

#[tokio::test(start_paused = true)]
async fn what_no_limit_counts_passes_at_once() {
    let client = client();
    let models = Request::get("http://127.0.0.1:1/v1/models").body("").expect("legal");
    assert_eq!(through(&client, models, 200, "{}").await, "{}");
    assert_eq!(client.limits().expect("ours").limits.len(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_refusal_costs_nothing_and_pauses_what_it_names_for_the_next() {
    let client = client();
    through(&client, chat(), 429, RATE).await;
    assert_eq!((held(&client), held_or_used(&client, Dimension::TotalTokens)), (0, 0));
    assert_eq!(limit(&client, Dimension::Requests, 60), Some(60), "the stated limit is adopted");
    let asked = tokio::time::Instant::now();
    through(&client, chat(), 200, GOOD).await;
    assert!(asked.elapsed() >= Duration::from_millis(500), "{:?}", asked.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_stop_reaches_the_next_request_before_it_leaves() {
    let client = client();
    let spent = r#"{"error": "Your team t has either used all available credits or reached its monthly spending limit."}"#;
    through(&client, chat(), 403, spent).await;
    let inner = service_fn(|_: Request<&'static str>| async {
        panic!("nothing may leave");
        #[expect(unreachable_code, reason = "names the type")]
        Ok::<_, Infallible>(answer(200, ""))
    });
    let mut service = PacedLayer::new(client).layer(inner);
    let refused = service.ready().await.expect("ready").call(chat()).await;
    let Err(PacedError::Refused(error)) = refused else { panic!("it must not leave") };
    assert_eq!(error.kind(), ErrorKind::NoCredits);
}

#[tokio::test(start_paused = true)]
async fn a_body_nobody_reads_to_its_end_stays_spent_and_what_never_left_goes_back() {
    let client = client();
    let inner =
        service_fn(|_: Request<&'static str>| async { Ok::<_, Infallible>(answer(200, GOOD)) });
    let mut service = PacedLayer::new(client.clone()).layer(inner);
    let unread = service.ready().await.expect("ready").call(chat()).await.expect("an answer");
    drop(unread);
    let spent = held_or_used(&client, Dimension::TotalTokens);
    assert!(held(&client) == 0 && spent > 140, "{spent}");

    let refused = service_fn(|_: Request<&'static str>| async {
        Err::<Response<Full<Bytes>>, _>(io::Error::from(io::ErrorKind::ConnectionRefused))
    });
    let mut service = PacedLayer::new(client.clone()).layer(refused);
    service.ready().await.expect("ready").call(chat()).await.expect_err("refused");
    assert_eq!(held_or_used(&client, Dimension::TotalTokens), spent, "nothing more is spent");
}

async fn server() -> Server {
    let limits = Limits::new().rps(50).rpm(10_000).tpm(100_000_000);
    let options = ServerOptions::new().limits(limits).latency(Latency::instant());
    Server::start(options).await.expect("a free port")
}

fn limits_of(server: &Server) -> Client {
    Client::builder()
        .base_url(server.base_url())
        .requests_per_second(NonZeroU64::new(50).expect("not zero"))
        .build()
        .expect("legal settings")
}

#[tokio::test]
async fn reqwest_behind_the_layer_meets_no_429_and_its_answers_are_whole() {
    let server = server().await;
    let client = limits_of(&server);
    let http = reqwest::Client::builder().retry(reqwest::retry::never()).build().expect("a client");
    let service = PacedLayer::with_adapter(client.clone(), ReqwestAdapter).layer(http.clone());
    let calls: Vec<_> = (0..100)
        .map(|_| {
            let mut service = service.clone();
            let request = http
                .post(format!("{}/chat/completions", server.base_url()))
                .bearer_auth("simulated")
                .body(CHAT);
            tokio::spawn(async move {
                let request = request.build().expect("legal");
                let answer = service.ready().await.expect("ready").call(request).await;
                let answer = answer.expect("an answer");
                assert_eq!(answer.status(), StatusCode::OK);
                let text = answer.text().await.expect("a body");
                serde_json::from_str::<Value>(&text).expect("whole")
            })
        })
        .collect();
    for call in calls {
        let answer = call.await.expect("no panic");
        assert!(answer["usage"]["total_tokens"].is_u64());
    }
    let stats = server.stats();
    assert_eq!((stats.arrived, stats.ok, stats.status_429), (100, 100, 0));
    assert_eq!(held(&client), 0);
    assert_eq!(client.accuracy().count, 100);
}

#[tokio::test]
async fn async_openai_behind_the_limits_makes_as_many_attempts_as_we_admit() {
    let server = server().await;
    let client = limits_of(&server);
    let mut events = client.events();
    let http = reqwest::Client::builder().retry(reqwest::retry::never()).build().expect("a client");
    let config = OpenAIConfig::new().with_api_base(server.base_url()).with_api_key("simulated");
    let openai = async_openai::Client::with_config(config)
        .with_http_service(OpenAiService::new(client.clone(), http));
    let asked: Value = serde_json::from_str(CHAT).expect("JSON");

    // A client that retried by itself would meet a good answer the second time.
    let busy = r#"{"error": {"message": "The service is currently unavailable", "type": "busy"}}"#;
    server.inject(1, Fault::answer(StatusCode::SERVICE_UNAVAILABLE, busy));
    openai.chat().create_byot::<_, Value>(&asked).await.expect_err("too busy");
    assert_eq!(server.stats().arrived, 0, "it was not sent again");
    let answer: Value = openai.chat().create_byot(&asked).await.expect("an answer");
    assert!(answer["usage"]["total_tokens"].is_u64());

    let sent = std::iter::from_fn(|| events.try_next())
        .filter(|event| matches!(event.kind, EventKind::Sent))
        .count();
    assert_eq!((sent, server.stats().arrived), (2, 1), "its attempts are ours");
    assert_eq!(held(&client), 0);
    assert_eq!(client.accuracy().count, 1);
}
