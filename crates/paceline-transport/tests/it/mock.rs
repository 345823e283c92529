//! The scripted transport, on paused time.

use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body::Body as _;
use http_body_util::BodyExt;
use paceline_transport::mock::{Answer, MockTransport};
use paceline_transport::{ApiKey, Body, Reach, Transport, TransportErrorKind};
use tokio::time::Instant;

fn request(path: &str) -> Request<Bytes> {
    Request::post(format!("https://api.x.ai{path}"))
        .header("authorization", ApiKey::new("xai-s3cret-0123456789").unwrap().authorization())
        .body(Bytes::from_static(br#"{"n": 1}"#))
        .unwrap()
}

#[tokio::test(start_paused = true)]
async fn answers_come_in_order_and_after_their_delay() {
    let mock = MockTransport::new()
        .then(Answer::new(429, "slow down").header("retry-after", "2"))
        .answer(200, "fine")
        .delay(Duration::from_secs(3_600))
        .fail(TransportErrorKind::Reset, Reach::MaybeSent);
    let start = Instant::now();

    let first = mock.send(request("/1")).await.unwrap();
    assert_eq!(
        (first.status().as_u16(), &first.headers()["retry-after"]),
        (429, &"2".parse().unwrap())
    );
    assert_eq!(start.elapsed(), Duration::ZERO);

    let second = mock.send(request("/2")).await.unwrap();
    assert_eq!(second.into_body().collect(9).await.unwrap(), "fine");
    // Paused time moves by whole milliseconds.
    assert_eq!(start.elapsed().as_secs(), 3_600);

    let third = mock.send(request("/3")).await.unwrap_err();
    assert_eq!((third.kind(), third.reach()), (TransportErrorKind::Reset, Reach::MaybeSent));
    assert_eq!((mock.calls(), mock.unused()), (3, 0));
}

#[tokio::test(start_paused = true)]
async fn a_used_up_script_fails_with_what_to_do() {
    let mock = MockTransport::new();
    let error = mock.send(request("/")).await.unwrap_err();
    assert_eq!((error.kind(), error.reach()), (TransportErrorKind::Other, Reach::NotSent));
    let source = std::error::Error::source(&error).unwrap().to_string();
    assert!(source.contains("nothing is scripted"), "{source}");
}

#[tokio::test(start_paused = true)]
async fn always_and_by_answer_when_the_script_is_used_up() {
    let mock = MockTransport::new().answer(500, "").always(Answer::new(200, "x"));
    let mut statuses = Vec::new();
    for _ in 0..3 {
        statuses.push(mock.send(request("/")).await.unwrap().status().as_u16());
    }
    assert_eq!(statuses, [500, 200, 200]);

    let mock = MockTransport::by(|sent| {
        Answer::new(200, format!("{} {}", sent.number(), sent.uri().path()))
    });
    mock.send(request("/a")).await.unwrap();
    let answer = mock.send(request("/b")).await.unwrap();
    assert_eq!(answer.into_body().collect(99).await.unwrap(), "1 /b");
}

#[tokio::test(start_paused = true)]
async fn what_was_sent_is_recorded_and_shows_no_key() {
    let mock = MockTransport::new().always(Answer::new(200, ""));
    tokio::time::sleep(Duration::from_secs(5)).await;
    let start = Instant::now();
    mock.clone().send(request("/v1/responses")).await.unwrap();

    let sent = mock.sent();
    assert_eq!(sent.len(), 1);
    assert_eq!(sent[0].uri().path(), "/v1/responses");
    assert_eq!(sent[0].headers()["authorization"], "Bearer xai-s3cret-0123456789");
    assert_eq!(sent[0].json().unwrap()["n"], 1);
    assert_eq!(sent[0].at(), start);
    assert!(!format!("{sent:?} {mock:?}").contains("s3cret"));
}

#[tokio::test(start_paused = true)]
async fn keys_put_in_by_hand_are_not_shown_either() {
    let mock = MockTransport::new().answer(200, "");
    let request = Request::get("https://h/")
        .header("authorization", "Bearer s3cret")
        .header("authorization", "Bearer s3cret-too")
        .header("x-api-key", "s3cret")
        .body(Bytes::new())
        .unwrap();
    mock.send(request).await.unwrap();
    assert!(!format!("{:?}", mock.sent()).contains("s3cret"));
}

#[tokio::test(start_paused = true)]
async fn the_record_is_bounded_to_the_latest() {
    let mock = MockTransport::new().always(Answer::new(200, ""));
    let extra = 3;
    for number in 0..MockTransport::MAX_RECORDED + extra {
        mock.send(request(&format!("/{number}"))).await.unwrap();
    }
    let sent = mock.sent();
    assert_eq!(sent.len(), MockTransport::MAX_RECORDED);
    assert_eq!(sent[0].uri().path(), "/3");
    assert_eq!(mock.calls(), 10_003);
}

#[tokio::test(start_paused = true)]
async fn a_body_can_break_off() {
    let mock =
        MockTransport::new().then(Answer::new(200, "half").breaks(TransportErrorKind::Reset));
    let answer = mock.send(request("/")).await.unwrap();
    let error = answer.into_body().collect(99).await.unwrap_err();
    assert_eq!(error.kind(), TransportErrorKind::Reset);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_dropped_has_used_its_answer() {
    let mock = MockTransport::new()
        .answer(200, "first")
        .delay(Duration::from_secs(9))
        .answer(200, "second");
    let dropped = tokio::time::timeout(Duration::from_secs(1), mock.send(request("/"))).await;
    assert!(dropped.is_err());
    let answer = mock.send(request("/")).await.unwrap();
    assert_eq!(answer.into_body().collect(99).await.unwrap(), "second");
    assert_eq!(mock.calls(), 2);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_recorded_before_the_first_poll() {
    let mock = MockTransport::new().answer(200, "");
    drop(mock.send(request("/")));
    assert_eq!((mock.calls(), mock.unused()), (0, 1));
}

#[tokio::test(start_paused = true)]
async fn a_number_that_is_no_status_is_a_typed_error() {
    let mock = MockTransport::new().answer(99, "");
    assert_eq!(mock.send(request("/")).await.unwrap_err().kind(), TransportErrorKind::Other);
}

/// What is left of a body, frame by frame, each with the seconds since `start`.
async fn frames(body: &mut Body, start: Instant) -> Vec<(u64, String)> {
    let mut frames = Vec::new();
    while let Some(Ok(frame)) = body.frame().await {
        let data = frame.into_data().unwrap();
        frames.push((start.elapsed().as_secs(), String::from_utf8(data.to_vec()).unwrap()));
    }
    frames
}

#[tokio::test(start_paused = true)]
async fn pieces_come_at_their_moments_and_not_before_the_head() {
    let second = Duration::from_secs(1);
    let answer = Answer::new(200, "head")
        .delay(5 * second)
        .piece(second, "a")
        .piece(2 * second, "")
        .piece(3 * second, "b");
    let mock = MockTransport::new().then(answer);
    let start = Instant::now();
    let mut body = mock.send(request("/")).await.unwrap().into_body();
    assert_eq!(start.elapsed(), 5 * second);
    let came = frames(&mut body, start).await;
    let expected = [(5, "head"), (6, "a"), (11, "b")].map(|(at, text)| (at, text.to_owned()));
    assert_eq!(came, expected);
    assert!(body.frame().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_slow_reader_finds_what_came_meanwhile_and_delays_nothing() {
    let second = Duration::from_secs(1);
    let mock = MockTransport::new().then(Answer::events(second, ["1", "2", "3"]));
    let start = Instant::now();
    let answer = mock.send(request("/")).await.unwrap();
    assert_eq!(answer.headers()["content-type"], "text/event-stream");
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    let came = frames(&mut answer.into_body(), start).await;
    let expected = [(2, "data: 1\n\n"), (2, "data: 2\n\n"), (3, "data: 3\n\n")];
    assert_eq!(came, expected.map(|(at, text)| (at, text.to_owned())));
}

#[tokio::test(start_paused = true)]
async fn a_body_in_pieces_can_break_or_stall_behind_the_last() {
    let second = Duration::from_secs(1);
    let mock = MockTransport::new()
        .then(Answer::events(second, ["1"]).breaks(TransportErrorKind::Reset))
        .then(Answer::new(200, "half").stalls());
    let start = Instant::now();
    let mut body = mock.send(request("/")).await.unwrap().into_body();
    assert!(body.frame().await.unwrap().is_ok());
    let error = body.frame().await.unwrap().unwrap_err();
    assert_eq!((error.kind(), error.reach()), (TransportErrorKind::Reset, Reach::MaybeSent));
    assert_eq!(start.elapsed(), second);
    assert!(body.frame().await.is_none());

    let mut body = mock.send(request("/")).await.unwrap().into_body();
    let half = body.frame().await.unwrap().unwrap().into_data().unwrap();
    assert_eq!(half, "half");
    assert!(tokio::time::timeout(3_600 * second, body.frame()).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_server_that_hangs_says_nothing_ever() {
    let mock =
        MockTransport::new().then(Answer::silence().header("x", "y").piece(Duration::ZERO, "z"));
    let day = Duration::from_secs(86_400);
    assert!(tokio::time::timeout(day, mock.send(request("/"))).await.is_err());
    assert_eq!(mock.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_wait_that_no_clock_holds_never_ends() {
    let mock = MockTransport::new().then(Answer::new(200, "").piece(Duration::MAX, "x"));
    let body = mock.send(request("/")).await.unwrap().into_body();
    let day = Duration::from_secs(86_400);
    assert!(tokio::time::timeout(day, body.collect(9)).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_body_in_one_piece_says_its_length() {
    let mock = MockTransport::new().answer(200, "four").answer(204, "");
    let four = mock.send(request("/")).await.unwrap().into_body();
    assert_eq!(four.size_hint().exact(), Some(4));
    assert!(mock.send(request("/")).await.unwrap().into_body().is_end_stream());
}
