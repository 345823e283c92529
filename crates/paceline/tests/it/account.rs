//! The account of attempts: what is recorded, what it refuses, and what ends with it.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use paceline::budget::{AttemptId, Intent, Outcome, Record, RecordError, Recorded};
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
