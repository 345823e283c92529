//! Event streams: the standard's own rules at every cut, and the answers that come in them.

use paceline_transport::sse::{AnswerStream, ChunkKind, Decoder, EventTooLarge, StreamEnding};
use proptest::prelude::*;

use super::laws::{by_the_grammar, decode};

#[test]
fn the_examples_of_the_standard() {
    let check = |stream: &str, expected: &[(&str, &str)]| {
        let expected: Vec<(String, String)> =
            expected.iter().map(|(name, data)| ((*name).into(), (*data).into())).collect();
        assert_eq!(decode([stream.as_bytes()]).0, expected, "{stream:?}");
    };
    check("data: YHOO\ndata: +2\ndata: 10\n\n", &[("message", "YHOO\n+2\n10")]);
    check(
        ": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third event\n",
        &[("message", "first event"), ("message", "second event")],
    );
    check("data\n\ndata\ndata\n\ndata:", &[("message", ""), ("message", "\n")]);
    check("data:test\n\ndata: test\n\n", &[("message", "test"), ("message", "test")]);
    check("event: add\ndata: 73857293\n\n", &[("add", "73857293")]);
}

proptest! {
    #[test]
    fn fault_21_any_cut_of_any_stream_gives_what_the_grammar_says(
        parts in prop::collection::vec(
            prop_oneof![
                Just("\r"), Just("\n"), Just("\r\n"), Just("data:"), Just("data: "), Just("data"),
                Just("event: x"), Just(":"), Just(": keep-alive"), Just("ü€😀"), Just("{\"a\": 1}"),
                Just("[DONE]"), Just("\u{FEFF}"), Just("id: 7"), Just("retry: 1"), Just(" "),
            ],
            0..40,
        ),
        cuts in prop::collection::vec(0_usize..200, 0..6),
    ) {
        let stream = parts.concat().into_bytes();
        let expected = by_the_grammar(&stream);
        let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(stream.len())).collect();
        cuts.sort_unstable();
        cuts.push(stream.len());
        let mut from = 0;
        let pieces = cuts.into_iter().map(|to| {
            let piece = &stream[from..to];
            from = to;
            piece
        });
        prop_assert_eq!(decode(pieces.collect::<Vec<_>>()), expected.clone());
        // And byte by byte.
        prop_assert_eq!(decode(stream.chunks(1)), expected);
    }

    #[test]
    fn any_bytes_at_all_are_decoded_the_same_at_every_cut(
        stream in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        let whole = decode([&stream[..]]);
        prop_assert_eq!(decode(stream.chunks(1)), whole.clone());
        prop_assert_eq!(decode(stream.chunks(7)), whole);
    }
}

#[test]
fn an_event_larger_than_the_cap_ends_it_for_good() {
    let mut decoder = Decoder::with_most(64);
    let mut seen = 0;
    decoder.push(b"data: small\n\n", |_| seen += 1).expect("small");
    let many = "data: 0123456789\n".repeat(10);
    let error = decoder.push(many.as_bytes(), |_| seen += 1).expect_err("too large");
    assert_eq!((error.most, seen), (64, 1));
    assert_eq!(decoder.push(b"\n\n", |_| seen += 1), Err(error));
    let mut line = Decoder::with_most(64);
    let error: Result<(), EventTooLarge> = line.push(&[b'x'; 65], |_| {});
    error.expect_err("a line without an end is bounded too");
}

fn read(stream: &str) -> (AnswerStream, Vec<(ChunkKind, String)>) {
    let mut answer = AnswerStream::new();
    let mut seen = Vec::new();
    for piece in stream.as_bytes().chunks(13) {
        answer
            .push(piece, |chunk| seen.push((chunk.kind(), chunk.text().to_owned())))
            .expect("small events");
    }
    (answer, seen)
}

fn total(answer: &AnswerStream) -> Option<u64> {
    answer.usage().usage().map(|usage| usage.total_tokens())
}

#[test]
fn a_chat_stream_shows_text_reasoning_usage_and_its_end() {
    let stream = r#"data: {"object":"chat.completion.chunk","choices":[{"delta":{"role":"assistant"}}]}

data: {"choices":[{"delta":{"reasoning_content":"Hmm. "}}],"usage":null}

: keep-alive

data: {"choices":[{"delta":{"content":"Zwölf"}}]}

data: {"choices":[{"delta":{},"finish_reason":"length"}]}

data: {"choices":[],"usage":{"prompt_tokens":137,"completion_tokens":7,"total_tokens":270,"completion_tokens_details":{"reasoning_tokens":126}}}

data: [DONE]

data: {"choices":[{"delta":{"content":"nobody reads this"}}]}

"#;
    let (answer, seen) = read(stream);
    let texts: Vec<_> = seen.iter().filter(|(kind, _)| *kind != ChunkKind::Other).collect();
    assert_eq!(
        texts,
        [&(ChunkKind::Reasoning, "Hmm. ".to_owned()), &(ChunkKind::Text, "Zwölf".to_owned())]
    );
    assert_eq!((answer.text_bytes(), answer.reasoning_bytes()), (6, 5));
    assert_eq!(answer.ending(), Some(StreamEnding::Complete));
    assert_eq!((total(&answer), answer.is_cut_off()), (Some(270), true));
}

#[test]
fn a_stream_of_responses_ends_by_its_last_event_without_a_done() {
    let stream = r#"event: response.created
data: {"type":"response.created","sequence_number":0,"response":{"status":"in_progress","usage":null}}

event: ping
data: {"type":"ping"}

event: response.reasoning_summary_text.delta
data: {"type":"response.reasoning_summary_text.delta","delta":"So"}

event: response.output_text.delta
data: {"type":"response.output_text.delta","delta":"Twelve"}

event: response.completed
data: {"type":"response.completed","response":{"status":"completed","usage":{"input_tokens":204,"output_tokens":80,"output_tokens_details":{"reasoning_tokens":79},"total_tokens":284}}}

"#;
    let (answer, seen) = read(stream);
    assert!(seen.contains(&(ChunkKind::Text, "Twelve".to_owned())));
    assert!(seen.contains(&(ChunkKind::Reasoning, "So".to_owned())));
    assert_eq!((answer.ending(), total(&answer)), (Some(StreamEnding::Complete), Some(284)));
    let (cut, _) = read(&stream[..stream.len() - 3]);
    assert_eq!((cut.ending(), total(&cut)), (None, None), "what was cut off counts for nothing");
    let incomplete = r#"data: {"type":"response.incomplete","response":{"incomplete_details":{"reason":"max_output_tokens"},"usage":{"input_tokens":1,"output_tokens":2,"total_tokens":3}}}

"#;
    let (answer, _) = read(incomplete);
    assert_eq!((answer.is_cut_off(), total(&answer)), (true, Some(3)));
}

#[test]
fn an_error_inside_ends_the_answer_in_every_shape() {
    for stream in [
        "data: {\"code\":\"unavailable\",\"error\":\"The service is currently unavailable\"}\n\n",
        "data: {\"error\":{\"message\":\"at capacity\",\"code\":503}}\n\n",
        "event: error\ndata: {\"code\":503,\"message\":\"at capacity\"}\n\n",
        "event: error\ndata: {\"type\":\"error\",\"code\":\"503\",\"message\":\"at capacity\"}\n\n",
        "data: {\"type\":\"response.failed\",\"response\":{\"error\":{\"code\":\"server_error\"}}}\n\n",
    ] {
        let before = "data: {\"choices\":[{\"delta\":{\"content\":\"So\"}}]}\n\n";
        let (answer, seen) = read(&format!("{before}{stream}data: [DONE]\n\n"));
        assert_eq!(answer.ending(), Some(StreamEnding::Failed), "{stream}");
        assert_eq!(seen.last().map(|(kind, _)| *kind), Some(ChunkKind::Error), "{stream}");
        assert!(answer.error().is_some() && total(&answer).is_none(), "{stream}");
    }
}

#[test]
fn what_is_no_object_is_left_out_and_said() {
    let (answer, seen) = read("data: <html>\n\ndata: 7\n\ndata: [1]\n\ndata: {}\n\n");
    assert_eq!((answer.malformed(), seen.len(), answer.ending()), (3, 1, None));
}

#[test]
fn an_answer_that_was_not_streamed_is_one_chunk() {
    let chat = r#" {"service_tier": "priority", "choices": [{"message": {"content": "Zwölf", "reasoning_content": "Hm"},
        "finish_reason": "length"}], "usage": {"prompt_tokens": 1, "completion_tokens": 6, "total_tokens": 7}}"#;
    let response = r#"{"output": [{"type": "reasoning"}, {"content": [{"type": "output_text", "text": "Twel"},
        {"type": "output_text", "text": "ve"}]}], "usage": {"input_tokens": 1, "output_tokens": 6, "total_tokens": 7}}"#;
    for (body, text, is_cut_off) in [(chat, "Zwölf", true), (response, "Twelve", false)] {
        let (mut answer, mut seen) = read(body);
        assert_eq!((answer.ending(), seen.len()), (None, 0), "it may go on");
        answer.end(|chunk| seen.push((chunk.kind(), chunk.text().to_owned())));
        assert_eq!(seen, [(ChunkKind::Text, text.to_owned())]);
        assert_eq!((answer.ending(), total(&answer)), (Some(StreamEnding::Complete), Some(7)));
        assert_eq!(answer.is_cut_off(), is_cut_off);
    }
    let (mut failed, _) = read(r#"{"code": "unavailable", "error": "busy"}"#);
    failed.end(|chunk| assert_eq!(chunk.kind(), ChunkKind::Error));
    assert_eq!(failed.ending(), Some(StreamEnding::Failed));
    let (mut broken, _) = read(r#"{"choices": ["#);
    broken.end(|_| panic!("nothing can be shown"));
    assert_eq!((broken.ending(), broken.malformed()), (None, 1));
}

#[test]
fn the_service_tier_and_the_whole_usage_are_kept() {
    let stream = r#"data: {"service_tier": "default", "choices": []}

data: {"service_tier": "priority", "choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3, "num_sources_used": 4}}

"#;
    let (answer, _) = read(stream);
    assert_eq!(answer.service_tier(), Some("priority"));
    assert_eq!(answer.usage_value().and_then(|usage| usage["num_sources_used"].as_u64()), Some(4));
}

#[test]
fn an_answer_without_a_stream_that_is_too_large_stays_so_whatever_follows() {
    let mut answer = AnswerStream::new();
    answer.push(b"{\"choices\": [", |_| {}).expect("it has begun");
    let more = vec![b' '; 64 << 20];
    let error = answer.push(&more, |_| {}).expect_err("above the cap");
    assert_eq!(error.most, 64 << 20);
    assert_eq!(answer.push(b"]}", |_| {}), Err(error), "what comes after a gap is no answer");
    answer.end(|_| panic!("nothing can be shown"));
    assert_eq!(answer.ending(), None);
}
