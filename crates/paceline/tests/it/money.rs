//! What calls cost: refusals that are charged, terms, fees, and prices that are read anew.

use paceline::budget::{Budget, Budgets, Period, PriceTable};
use paceline::core::{Dimension, Money};
use paceline::transport::ApiKey;
use paceline::transport::mock::{Answer, MockTransport};
use paceline::{Client, ErrorKind, JsonCall, Path};
use paceline_sim::http::{Server, ServerOptions};
use serde_json::{Value, json};

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

const LISTED: u64 = 131 * 12_500 + 9 * 25_000;

fn answer(more: &Value) -> String {
    let mut answer = json!({ "choices": [], "usage":
        { "prompt_tokens": 131, "completion_tokens": 9, "total_tokens": 140 } });
    for (name, value) in more.as_object().into_iter().flatten() {
        if name == "service_tier" {
            answer[name] = value.clone();
        } else {
            answer["usage"][name] = value.clone();
        }
    }
    answer.to_string()
}

/// What a chat with these fields reserves, and what it costs by what the answer says beside its tokens.
async fn priced(host: &str, asked: &Value, said: &Value) -> (u64, u64) {
    let transport = MockTransport::new().answer(200, answer(said));
    let key = ApiKey::new("xai-0123456789").expect("legal");
    let builder = Client::builder().base_url(format!("https://{host}/v1")).api_key(key);
    let client = builder.transport(transport).budgets(a_dollar()).build().expect("legal settings");
    let fields = asked.as_object().into_iter().flatten();
    let chat = fields.fold(chat(), |chat, (name, value)| chat.field(name, value.clone()));
    let demand = client.demand(&chat).expect("a known price");
    let reserved = demand.amount(Dimension::Money).expect("a known price").upper_amount();
    let cost = client.chat(&chat).await.expect("an answer").cost().expect("a known price");
    assert_eq!(spent(&client), cost.as_amount());
    (reserved, cost.as_amount())
}

#[tokio::test(start_paused = true)]
async fn a_call_is_reserved_on_the_terms_it_asks_and_billed_on_those_of_the_answer() {
    let plain = json!({});
    let (base, cost) = priced("api.x.ai", &plain, &plain).await;
    assert_eq!(cost, LISTED);
    let priority = json!({ "service_tier": "priority" });
    assert_eq!(priced("api.x.ai", &priority, &priority).await, (2 * base, 2 * LISTED));
    // What counts is the tier that was applied.
    let default = json!({ "service_tier": "default" });
    assert_eq!(priced("api.x.ai", &priority, &default).await, (2 * base, LISTED));
    let tenth = |ticks: u64| ticks + ticks.div_ceil(10);
    assert_eq!(priced("us.api.x.ai", &plain, &plain).await, (tenth(base), tenth(LISTED)));
    // Twenty sources at $25 for 1,000, and twice the price of tokens.
    let searched = json!({ "service_tier": "priority", "num_sources_used": 20 });
    let (_, cost) = priced("api.x.ai", &plain, &searched).await;
    assert_eq!(cost, 2 * LISTED + 20 * 250_000_000);
    let tools = json!({ "tools": [{ "type": "web_search" }], "max_turns": 4 });
    let text_alone = json!({ "tools": [{ "type": "web_sauce" }], "max_turns": 4 });
    let counted = json!({ "server_side_tool_usage_details": { "web_search_calls": 3 } });
    let (text, _) = priced("api.x.ai", &text_alone, &plain).await;
    let (reserved, cost) = priced("api.x.ai", &tools, &counted).await;
    assert!(reserved.abs_diff(text + 4 * 50_000_000) < base / 4, "{reserved} and {text}");
    assert_eq!(cost, LISTED + 3 * 50_000_000);
    // The server's own sum has all of that in it.
    let said =
        json!({ "service_tier": "priority", "num_sources_used": 20, "cost_in_usd_ticks": 77 });
    assert_eq!(priced("api.x.ai", &plain, &said).await.1, 77);
}

#[tokio::test(start_paused = true)]
async fn prices_are_asked_of_the_server_and_hold_from_then_on() {
    let list = json!({ "models": [
        { "id": "grok-4.3", "aliases": ["grok-4.3-latest"], "prompt_text_token_price": 50_000,
          "cached_prompt_text_token_price": 4_000, "completion_text_token_price": 100_000 },
        { "id": "grok-9", "prompt_text_token_price": 1, "completion_text_token_price": 1 },
        { "id": "grok-4.6", "prompt_text_token_price": 1e18 as u64, "completion_text_token_price": 1 },
    ] });
    let transport = MockTransport::new()
        .answer(200, answer(&json!({})))
        .answer(503, "{}")
        .answer(200, list.to_string())
        .answer(200, answer(&json!({})));
    let client = mocked(&transport).budgets(a_dollar()).build().expect("legal settings");
    let cost = async || client.chat(&chat()).await.expect("an answer").cost().expect("a price");
    let reserved = || client.demand(&chat()).expect("a price").amount(Dimension::Money);
    assert_eq!(cost().await.as_amount(), LISTED);
    let before = reserved().expect("a price");
    let error = client.refresh_prices().await.expect_err("overloaded");
    assert_eq!((error.kind(), reserved()), (ErrorKind::Overloaded, Some(before)));
    let listed = client.refresh_prices().await.expect("a list");
    assert_eq!((listed.prices().len(), listed.refused().len()), (3, 1));
    assert_eq!(reserved().expect("a price").upper_amount(), 4 * before.upper_amount());
    assert_eq!(cost().await.as_amount(), 4 * LISTED);
    let million =
        |model: &str| client.price(&model.into()).map(|price| price.cost_of(1, 0).as_ticks());
    assert_eq!(million("grok-4.3-latest"), Some(50_000));
    assert_eq!(million("grok-9"), Some(1));
    assert_eq!(million("grok-4.6"), Some(20_000), "what is absurd changes nothing");
    let sent = transport.sent();
    assert_eq!(format!("{} {}", sent[2].method(), sent[2].uri().path()), "GET /v1/language-models");
}

#[tokio::test]
async fn the_simulated_server_lists_the_prices_that_the_table_has() {
    let server = Server::start(ServerOptions::new()).await.expect("a free port");
    let client = Client::builder().base_url(server.base_url());
    let key = ApiKey::new("simulated").expect("legal");
    let client = client.api_key(key).build().expect("legal settings");
    let table = PriceTable::builtin();
    let list = client.refresh_prices().await.expect("a list");
    assert!(list.prices().len() >= 20 && list.refused().is_empty());
    for (model, price) in list.prices() {
        let known = table.price(model).expect("of the table, too");
        for tokens in [1, 199_999, 200_000] {
            assert_eq!(price.cost_of(tokens, 7), known.cost_of(tokens, 7), "{model}");
        }
    }
}
