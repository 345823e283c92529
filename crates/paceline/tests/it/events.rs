//! What a watcher is told: every step of a call, once, and nothing that is secret.

use std::time::Duration;

use paceline::budget::Ending;
use paceline::transport::mock::{Answer, MockTransport};
use paceline::transport::{ApiKey, Reach, TransportErrorKind};
use paceline::{Client, Event, EventKind, Events};

use crate::{GOOD, RATE, chat, mocked};

fn all(events: &mut Events) -> Vec<Event> {
    std::iter::from_fn(|| events.try_next()).collect()
}

fn of_calls(events: &[Event]) -> Vec<(u32, &'static str)> {
    let of_call = events.iter().filter(|event| event.call.is_some());
    of_call.map(|event| (event.attempt, event.kind.name())).collect()
}

#[tokio::test(start_paused = true)]
async fn every_step_of_a_call_is_told_once_and_in_order() {
    let transport = MockTransport::new()
        .fail(TransportErrorKind::Connect, Reach::NotSent)
        .then(Answer::new(429, RATE).header("retry-after", "2"))
        .answer(200, GOOD);
    let client = mocked(&transport).build().expect("legal settings");
    let mut events = client.events();
    client.chat(&chat().named("row-7")).await.expect("the third attempt");
    let events = all(&mut events);
    assert_eq!(
        of_calls(&events),
        [
            (1, "estimated"),
            (1, "admitted"),
            (1, "sent"),
            (1, "settled"),
            (1, "retried"),
            (2, "estimated"),
            (2, "admitted"),
            (2, "sent"),
            (2, "head"),
            (2, "settled"),
            (2, "retried"),
            (3, "estimated"),
            (3, "queued"),
            (3, "admitted"),
            (3, "sent"),
            (3, "head"),
            (3, "settled"),
        ]
    );
    assert!(events.iter().all(|event| event.call.as_deref().is_none_or(|name| name == "row-7")));
    let ended: Vec<_> = events
        .iter()
        .filter_map(|event| match &event.kind {
            EventKind::Settled { ending, status, usage, .. } => {
                Some((*ending, *status, usage.map(|usage| usage.total_tokens())))
            }
            _ => None,
        })
        .collect();
    assert_eq!(
        ended,
        [
            (Ending::NotSent, None, None),
            (Ending::Refused, Some(429), None),
            (Ending::Answered, Some(200), Some(140)),
        ]
    );
    let waited = events.iter().rev().find_map(|event| match event.kind {
        EventKind::Admitted { waited, .. } => Some(waited),
        _ => None,
    });
    assert!(waited >= Some(Duration::from_secs(2)), "{waited:?}");
    let beside = |name| events.iter().filter(|event| event.kind.name() == name).count();
    assert_eq!(beside("paused"), 1, "one refusal pauses once");
    assert!(beside("limit_changed") >= 4, "three of the table, one of the refusal");
}

#[tokio::test(start_paused = true)]
async fn one_who_is_too_slow_loses_the_oldest_and_is_told_how_many() {
    let transport = MockTransport::new().always(Answer::new(200, GOOD));
    let client = mocked(&transport).build().expect("legal settings");
    let mut slow = client.events();
    for _ in 0..300 {
        client.chat(&chat()).await.expect("an answer");
    }
    let mut told = all(&mut slow);
    assert_eq!(told.len(), Events::MOST);
    assert!(slow.missed() >= 300 * 5 - Events::MOST as u64, "{}", slow.missed());
    assert_eq!(told.pop().map(|event| event.kind.name()), Some("settled"));
    drop(client);
    assert!(slow.next().await.is_none(), "nobody is left to tell anything");
}

#[tokio::test(start_paused = true)]
async fn a_stop_is_told_once_and_no_waiting_call_leaves_after_it() {
    let spent = r#"{"error": "Your team t has either used all available credits or reached its monthly spending limit."}"#;
    let transport = MockTransport::new().always(Answer::new(403, spent));
    let key = ApiKey::new("xai-secret-0123456789").expect("legal");
    let client = mocked(&transport).api_key(key).build().expect("legal settings");
    let mut events = client.events();
    let calls: Vec<_> = (0..200)
        .map(|_| {
            let client: Client = client.clone();
            tokio::spawn(async move { client.chat(&chat()).await })
        })
        .collect();
    for call in calls {
        call.await.expect("no panic").expect_err("no money");
    }
    // All that may go in the same moment have gone; those that had to wait have not.
    assert!(transport.calls() < 40, "{} left", transport.calls());
    let events = all(&mut events);
    let stops = events.iter().filter(|event| event.kind.name() == "stopped").count();
    assert_eq!(stops, 1);
    assert!(!format!("{events:?}").contains("secret"), "no key and no prompt");
}
