//! What calls cost: refusals that are charged, terms, fees, and prices that are read anew.

use paceline::budget::{Budget, Budgets, Period};
use paceline::core::{Dimension, Money};
use paceline::transport::mock::{Answer, MockTransport};
use paceline::{Client, ErrorKind, JsonCall, Path};
use serde_json::json;

use crate::{chat, mocked};

const VIOLATION: &str = r#"{"code": "permission-denied",
    "error": "Content violates usage guidelines. Failed check: SAFETY_CHECK_TYPE_BIO"}"#;

fn a_dollar() -> Budgets {
    let mut budgets = Budgets::new();
    let budget = Budget::money(Money::from_usd(1), Period::Run).expect("above zero");
    budgets.add(budget).expect("room");
    budgets
}

fn spent(client: &Client) -> u64 {
    client.budgets()[0].spent
}

#[tokio::test(start_paused = true)]
async fn a_content_refusal_is_charged_and_counts_at_what_was_reserved() {
    let transport = MockTransport::new().always(Answer::new(403, VIOLATION));
    let client = mocked(&transport).budgets(a_dollar()).build().expect("legal settings");
    let demand = client.demand(&chat()).expect("a known price");
    let reserved = demand.amount(Dimension::Money).expect("a known price").upper_amount();
    let error = client.chat(&chat()).await.expect_err("a violation");
    assert_eq!((error.kind(), transport.calls()), (ErrorKind::Rejected, 1));
    assert_eq!(spent(&client), reserved, "the server charges it as any other call");
    // A hard budget ends a run of many of them.
    let last = loop {
        match client.chat(&chat()).await.expect_err("all of them violate").kind() {
            ErrorKind::Rejected => {}
            other => break other,
        }
    };
    assert_eq!(last, ErrorKind::BudgetReached);
}

#[tokio::test(start_paused = true)]
async fn a_content_refusal_of_responses_costs_its_fee_at_least() {
    let transport = MockTransport::new().answer(403, VIOLATION);
    let client = mocked(&transport).budgets(a_dollar()).build().expect("legal settings");
    let body = json!({ "model": "grok-4.3", "input": "Hello?", "max_output_tokens": 1 });
    let call = JsonCall::post(Path::new("responses"), "grok-4.3", body);
    client.json(&call).await.expect_err("a violation");
    // Five cents; so short a call reserves less.
    assert_eq!(spent(&client), 500_000_000);
}
