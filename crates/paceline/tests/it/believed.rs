//! What of an answer is believed, and what is not shown of it.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use paceline::ErrorKind;
use paceline::budget::{Ending, Intent, Outcome, Record, RecordError, Recorded};
use paceline::core::{Amount, Demand};
use paceline::transport::ApiKey;
use paceline::transport::mock::{Answer, MockTransport};

use crate::{GOOD, chat, held, mocked};

#[tokio::test(start_paused = true)]
async fn fault_25_an_absurd_usage_is_not_learned_and_costs_what_was_reserved() {
    let absurd = r#"{"choices": [], "usage": {"prompt_tokens": 140,
        "completion_tokens": 1000000000000, "total_tokens": 1000000000140}}"#;
    let transport =
        MockTransport::new().then(Answer::new(200, absurd)).always(Answer::new(200, GOOD));
    let client = mocked(&transport).build().expect("legal settings");
    let before = client.estimate(&chat()).output();
    let reply = client.chat(&chat()).await.expect("the answer is there all the same");
    assert_eq!((reply.usage(), reply.cost()), (None, None));
    assert_eq!(client.estimate(&chat()).output(), before, "nothing was learned of it");
    client.chat(&chat()).await.expect("the model is as usable as before");
    assert_eq!(held(&client), 0);
}

#[tokio::test(start_paused = true)]
async fn a_stop_and_a_rate_inside_a_good_status_mean_what_they_say() {
    for (code, kind, requests) in [
        ("\"insufficient_quota\"", ErrorKind::NoCredits, 1),
        ("401", ErrorKind::Key, 1),
        ("\"strange\"", ErrorKind::BadAnswer, 3),
    ] {
        let body = format!(r#"{{"error": {{"message": "no", "code": {code}}}}}"#);
        let transport = MockTransport::new().always(Answer::new(200, body));
        let client = mocked(&transport).build().expect("legal settings");
        let error = client.chat(&chat()).await.expect_err("no result");
        assert_eq!(error.kind(), kind, "{code}");
        for _ in 0..2 {
            client.chat(&chat()).await.expect_err("no result");
        }
        assert_eq!(transport.calls(), requests, "{code}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_own_key_is_in_no_error_whatever_it_looks_like() {
    for key in ["gsk_AbCdEf/ghi+0123=", "0123456789abcdef0123456789abcdef"] {
        let body = format!(r#"{{"code": "invalid", "error": "Incorrect API key: {key}."}}"#);
        let transport = MockTransport::new().always(Answer::new(400, body));
        let key_of_it = ApiKey::new(key).expect("legal");
        let client = mocked(&transport).api_key(key_of_it).build().expect("legal settings");
        let error = client.chat(&chat()).await.expect_err("refused");
        let shown = format!("{error} {error:?}");
        assert!(!shown.contains(key) && shown.contains("[redacted]"), "{shown}");
    }
}

/// Its intents take a while; how its attempts ended.
#[derive(Debug, Default)]
struct Slow(Mutex<Vec<Ending>>);

impl Record for Slow {
    fn intent<'a>(&'a self, _: &'a Intent) -> Recorded<'a> {
        Box::pin(async {
            tokio::time::sleep(Duration::from_millis(300)).await;
            Ok(())
        })
    }

    fn outcome(&self, outcome: &Outcome) -> Result<(), RecordError> {
        self.0.lock().expect("not poisoned").push(outcome.ending);
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn a_stop_holds_for_those_whose_intent_is_being_written() {
    let refused = Answer::new(401, r#"{"code": "invalid_api_key", "error": "no"}"#);
    let transport = MockTransport::new().always(refused);
    let record = Arc::new(Slow::default());
    let client = mocked(&transport)
        .record(Arc::clone(&record) as Arc<dyn Record>)
        .build()
        .expect("legal settings");
    let mut calls = tokio::task::JoinSet::new();
    for number in 0..5 {
        let client = client.clone();
        calls.spawn(async move {
            tokio::time::sleep(Duration::from_millis(20 * number)).await;
            client.chat(&chat()).await.expect_err("the key is bad")
        });
    }
    calls.join_all().await;
    assert_eq!(transport.calls(), 1, "the others were told while theirs was written");
    let endings = record.0.lock().expect("not poisoned").clone();
    let unsent = endings.iter().filter(|ending| **ending == Ending::NotSent).count();
    assert_eq!((endings.len(), unsent), (5, 4));
    assert_eq!(held(&client), 0);
}

#[tokio::test(start_paused = true)]
async fn a_stop_holds_for_a_permit_whose_intent_is_being_written() {
    let refused = Answer::new(401, r#"{"code": "invalid_api_key", "error": "no"}"#);
    let transport = MockTransport::new().always(refused);
    let record = Arc::new(Slow::default());
    let client = mocked(&transport)
        .record(Arc::clone(&record) as Arc<dyn Record>)
        .build()
        .expect("legal settings");
    let late = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let demand = Demand::call(Amount::exact(100)).model("grok-4.3");
        client.acquire(&demand).await.map(drop)
    };
    let asked = chat();
    let (stopped, permit) = tokio::join!(client.chat(&asked), late);
    assert_eq!(stopped.expect_err("the key is bad").kind(), ErrorKind::Key);
    assert_eq!(permit.expect_err("nothing may leave any more").kind(), ErrorKind::Key);
    let endings = record.0.lock().expect("not poisoned").clone();
    assert_eq!(endings.iter().filter(|ending| **ending == Ending::NotSent).count(), 1);
    assert_eq!(held(&client), 0);
}

#[tokio::test(start_paused = true)]
async fn fault_01_calls_that_were_told_to_wait_do_not_all_come_back_at_one_moment() {
    let mut waited = std::collections::BTreeSet::new();
    for _ in 0..20 {
        let transport = MockTransport::new()
            .then(Answer::new(429, "{}").header("retry-after", "7"))
            .always(Answer::new(200, GOOD));
        let client = mocked(&transport).build().expect("legal settings");
        client.chat(&chat()).await.expect("the second attempt");
        let sent = transport.sent();
        let wait = sent[1].at() - sent[0].at();
        let (least, most) = (Duration::from_secs(7), Duration::from_millis(7_600));
        assert!((least..most).contains(&wait), "{wait:?}");
        waited.insert(wait.as_millis());
    }
    assert!(waited.len() > 5, "{waited:?}");
}
