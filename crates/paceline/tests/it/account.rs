//! The account of attempts: what is recorded, what it refuses, and what ends with it.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use paceline::budget::{AttemptId, Ending, Intent, Outcome, Record, RecordError, Recorded};
use paceline::core::{Actual, Amount, Demand, Dimension, Usage};
use paceline::transport::mock::{Answer, MockTransport};
use paceline::{Client, ErrorKind};

use crate::{GOOD, chat, held, mocked};

/// Takes every name once.
#[derive(Debug, Default)]
struct Names(Mutex<BTreeSet<AttemptId>>);

impl Record for Names {
    fn intent<'a>(&'a self, intent: &'a Intent) -> Recorded<'a> {
        let is_new = self.0.lock().expect("not poisoned").insert(intent.id.clone());
        let taken = || RecordError::refused("the name is taken");
        Box::pin(std::future::ready(is_new.then_some(()).ok_or_else(taken)))
    }

    fn outcome(&self, _: &Outcome) -> Result<(), RecordError> {
        Ok(())
    }
}

fn recorded(transport: &MockTransport, record: &Arc<Names>) -> Client {
    let record = Arc::clone(record) as Arc<dyn Record>;
    mocked(transport).record(record).build().expect("legal settings")
}

#[tokio::test(start_paused = true)]
async fn a_name_that_is_taken_ends_its_own_call_and_no_other() {
    let transport = MockTransport::new().always(Answer::new(200, GOOD));
    let client = recorded(&transport, &Arc::default());
    client.chat(&chat().named("x")).await.expect("a new name");
    let error = client.chat(&chat().named("x")).await.expect_err("the name is taken");
    assert_eq!(error.kind(), ErrorKind::NotRecorded);
    assert!(!error.ends_everything() && !error.is_retryable() && error.sent_at().is_none());
    assert_eq!((transport.calls(), held(&client)), (1, 0), "it was not sent, and holds nothing");
    client.chat(&chat().named("y")).await.expect("others go on");
}

#[tokio::test(start_paused = true)]
async fn two_clients_on_one_record_give_no_name_twice() {
    let transport = MockTransport::new().always(Answer::new(200, GOOD));
    let record = Arc::default();
    let (one, other) = (recorded(&transport, &record), recorded(&transport, &record));
    for _ in 0..3 {
        one.chat(&chat()).await.expect("a name of its own");
        other.chat(&chat()).await.expect("a name of its own");
    }
}

/// Keeps intents and outcomes in their order, as `name of the ending, tokens, ticks`.
#[derive(Debug, Default)]
struct Book {
    rows: Mutex<Vec<(String, u64, i128)>>,
    is_full: AtomicBool,
}

impl Book {
    fn take(&self) -> Vec<(String, u64, i128)> {
        std::mem::take(&mut self.rows.lock().expect("not poisoned"))
    }
}

impl Record for Book {
    fn intent<'a>(&'a self, intent: &'a Intent) -> Recorded<'a> {
        let row = (intent.model.to_string(), intent.total_tokens, intent.cost.as_ticks());
        self.rows.lock().expect("not poisoned").push(row);
        Box::pin(std::future::ready(Ok(())))
    }

    fn outcome(&self, outcome: &Outcome) -> Result<(), RecordError> {
        if self.is_full.load(Ordering::Relaxed) {
            return Err(RecordError::new("the disk is full"));
        }
        let tokens = outcome.usage.map_or(0, |usage| usage.total_tokens());
        let row = (format!("{:?}", outcome.ending), tokens, outcome.cost.as_ticks());
        self.rows.lock().expect("not poisoned").push(row);
        Ok(())
    }
}

fn booked(book: &Arc<Book>) -> (Client, MockTransport) {
    let transport = MockTransport::new().always(Answer::new(200, GOOD));
    let record = Arc::clone(book) as Arc<dyn Record>;
    (mocked(&transport).record(record).build().expect("legal settings"), transport)
}

fn demand() -> Demand {
    Demand::call(Amount::exact(500))
        .with(Dimension::Money, Amount::exact(9_000_000))
        .model("grok-4.3-latest")
}

#[tokio::test(start_paused = true)]
async fn a_permit_is_an_attempt_of_the_record_however_it_ends() {
    let book = Arc::new(Book::default());
    let (client, _) = booked(&book);
    let intent = ("grok-4.3".to_owned(), 500, 9_000_000);
    let usage = Usage::new(100, 140).expect("consistent");
    client.acquire(&demand()).await.expect("room").settle(&usage);
    let listed = 100 * 12_500 + 40 * 25_000;
    assert_eq!(book.take(), [intent.clone(), ("Answered".to_owned(), 140, listed)]);
    let actual = Actual::new().with(Dimension::InputTokens, 1).with(Dimension::OutputTokens, 2);
    client.acquire(&demand()).await.expect("room").settle_actual(&actual);
    assert_eq!(book.take(), [intent.clone(), ("Answered".to_owned(), 3, 9_000_000)]);
    drop(client.acquire(&demand()).await.expect("room"));
    assert_eq!(book.take(), [intent.clone(), ("MaybeCharged".to_owned(), 0, 9_000_000)]);
    client.acquire(&demand()).await.expect("room").cancel_unsent();
    assert_eq!(book.take(), [intent, ("NotSent".to_owned(), 0, 0)]);
    client.acquire(&Demand::call(Amount::exact(1))).await.expect("room").cancel_unsent();
    assert_eq!(book.take()[0].0, "unnamed");
    assert_eq!(held(&client), 0);
}

#[tokio::test(start_paused = true)]
async fn where_the_account_is_lost_no_permit_is_handed_out_either() {
    let book = Arc::new(Book::default());
    let (client, transport) = booked(&book);
    book.is_full.store(true, Ordering::Relaxed);
    client.chat(&chat()).await.expect("the answer that is there is delivered");
    for _ in 0..2 {
        let error = client.acquire(&demand()).await.expect_err("nothing may be spent");
        assert_eq!(error.kind(), ErrorKind::Record);
        let error = client.chat(&chat()).await.expect_err("nothing may be spent");
        assert_eq!(error.kind(), ErrorKind::Record);
    }
    assert_eq!((transport.calls(), held(&client)), (1, 0));
}

/// Never answers.
#[derive(Debug)]
struct Stuck;

impl Record for Stuck {
    fn intent<'a>(&'a self, _: &'a Intent) -> Recorded<'a> {
        Box::pin(std::future::pending())
    }

    fn outcome(&self, outcome: &Outcome) -> Result<(), RecordError> {
        assert_eq!(outcome.ending, Ending::NotSent);
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn a_permit_whose_intent_is_given_up_gives_everything_back() {
    let transport = MockTransport::new();
    let client = mocked(&transport).record(Arc::new(Stuck)).build().expect("legal settings");
    let wait = Duration::from_secs(1);
    let demand = demand();
    tokio::time::timeout(wait, client.acquire(&demand)).await.expect_err("it waits for ever");
    let limits = client.limits().expect("our own limiter").limits;
    assert!(limits.iter().all(|limit| limit.used + limit.held == 0), "{limits:?}");
}
