//! Budgets and tags through the client: what is refused, what waits, and what can be read of it.

use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use paceline::budget::{
    Budget, Budgets, Intent, Outcome, Period, Record, RecordError, Recorded, Spend, SpendingCap,
};
use paceline::core::{Actual, Amount, Demand, Dimension, LimitKey, Money, Tag, UnixMillis};
use paceline::transport::mock::{Answer, MockTransport};
use paceline::{Chat, Client, ErrorKind, JsonCall, Path};
use serde_json::json;

use crate::{GOOD, chat, mocked};

fn cents(cents: i64) -> Money {
    Money::from_ticks(i128::from(cents) * 100_000_000)
}

fn now() -> UnixMillis {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    UnixMillis::new(i64::try_from(since.as_millis()).expect("before the year 292 million"))
}

fn ago(hours: i64) -> UnixMillis {
    UnixMillis::new(now().as_millis() - hours * 3_600_000)
}

fn budgets(all: impl IntoIterator<Item = Budget>) -> Budgets {
    let mut budgets = Budgets::new();
    all.into_iter().for_each(|budget| budgets.add(budget).expect("room"));
    budgets
}

/// So many cents in any day: the rows of a test never meet a midnight.
fn daily(most: i64) -> Budget {
    let day = Period::Rolling(Duration::from_secs(86_400));
    Budget::money(cents(most), day).expect("above zero")
}

fn client(budgets: Budgets) -> Client {
    let transport = MockTransport::new();
    mocked(&transport).budgets(budgets).build().expect("legal settings")
}

fn call(most: i64) -> Demand {
    Demand::new().with(Dimension::Money, Amount::exact(cents(most).as_amount()))
}

fn cost(used: i64) -> Actual {
    Actual::new().with(Dimension::Money, cents(used).as_amount())
}

#[tokio::test(start_paused = true)]
async fn a_spent_budget_refuses_with_its_own_reason_and_says_when_it_begins_anew() {
    let transport = MockTransport::new().always(Answer::new(200, GOOD));
    let monthly = Budget::money(cents(4), Period::Month).expect("above zero");
    let client = mocked(&transport).budgets(budgets([monthly])).build().expect("legal settings");
    let mut spent = Money::ZERO;
    let error = loop {
        match client.chat(&chat()).await {
            Ok(reply) => spent += reply.cost().expect("a known price"),
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), ErrorKind::BudgetReached);
    let text = error.to_string();
    assert!(text.starts_with("the budget of $0.0400 a month for all calls is spent"), "{text}");
    let standing = client.budgets().pop().expect("one");
    assert_eq!((u128::from(standing.spent), standing.excess), (spent.as_ticks() as u128, 0));
    assert!(error.renews_at() > Some(now()) && error.renews_at() == standing.renews);
    let sent = transport.calls();
    client.chat(&chat()).await.expect_err("it stays spent");
    assert_eq!(transport.calls(), sent, "nothing was sent");
    let unpriced = client.chat(&Chat::new("who-knows").user("x")).await.expect_err("no price");
    assert_eq!(unpriced.kind(), ErrorKind::Settings);
}

#[tokio::test(start_paused = true)]
async fn what_was_spent_before_the_program_began_counts_while_it_is_in_the_window() {
    let mut restored = budgets([daily(10)]);
    restored.restore([Spend::new(ago(1)).money(cents(7)), Spend::new(ago(72)).money(cents(1_000))]);
    let client = client(restored);
    assert_eq!(client.budgets()[0].left, cents(3).as_amount());
    // At the start too little is left, though the budget itself is large enough.
    let error = client.acquire(&call(4)).await.expect_err("three are left");
    assert_eq!(error.kind(), ErrorKind::BudgetReached);
    assert!(error.to_string().contains("$0.0700 used, $0.0300 left"), "{error}");
    let error = client.acquire(&call(11)).await.expect_err("ten is all there is");
    assert!(error.to_string().contains("allows at all"), "{error}");
    client.acquire(&call(3)).await.expect("it fits").settle_actual(&cost(1));
    client.acquire(&call(2)).await.expect("two came back").cancel_unsent();
    assert_eq!(client.budgets()[0].left, cents(2).as_amount());
}

#[tokio::test(start_paused = true)]
async fn money_in_flight_makes_a_call_wait_and_an_excess_is_reported() {
    let client = client(budgets([daily(10), daily(9).warn_only()]));
    let first = client.acquire(&call(6)).await.expect("room");
    let second = tokio::spawn({
        let client = client.clone();
        async move { client.acquire(&call(6)).await }
    });
    tokio::time::sleep(Duration::from_secs(300)).await;
    assert!(!second.is_finished(), "six of ten are held");
    first.settle_actual(&cost(4));
    let second = second.await.expect("no panic").expect("six are left");
    // It used more than was reserved for it: the budget is passed by that much.
    second.settle_actual(&cost(8));
    let standings = client.budgets();
    assert_eq!(standings[0].excess, cents(2).as_amount());
    assert_eq!(standings[1].excess, cents(3).as_amount());
    let error = client.acquire(&call(1)).await.expect_err("it is spent");
    assert_eq!(error.kind(), ErrorKind::BudgetReached);
    assert!(error.to_string().contains("$0.120 used, $0.00 left"), "{error}");
    // A permit that is lost counts at what was reserved.
    let free = self::client(budgets([daily(10)]));
    drop(free.acquire(&call(6)).await.expect("room"));
    assert_eq!(free.budgets()[0].spent, cents(6).as_amount());
}

/// In real time, as periods are of the wall clock: no answer but in the end is looked at.
#[tokio::test]
async fn a_call_that_waits_is_admitted_when_room_comes_with_the_time() {
    let window = Period::Rolling(Duration::from_millis(2_000));
    let mut short = budgets([Budget::money(cents(10), window).expect("above zero")]);
    short.restore([Spend::new(now()).money(cents(5))]);
    let client = client(short);
    // Three of the five that are left are held, and stay so.
    let held = client.acquire(&call(3)).await.expect("room");
    let waits = tokio::time::timeout(Duration::from_secs(60), client.acquire(&call(3))).await;
    let waits = waits.expect("it ends").expect("the five leave the window");
    waits.settle_actual(&cost(3));
    held.settle_actual(&cost(3));
    // What is spent is given back in time, too: somebody who asks again is admitted.
    while let Err(error) = client.acquire(&call(9)).await {
        assert_eq!((error.kind(), error.renews_at()), (ErrorKind::BudgetReached, None));
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn the_cap_holds_beside_a_budget() {
    let transport = MockTransport::new();
    let cap = SpendingCap::new(cents(5), LimitKey::All).expect("above zero");
    let builder = mocked(&transport).spending_cap(cap);
    let client = builder.budgets(budgets([daily(10)])).build().expect("legal settings");
    client.count_spent(cents(2));
    assert_eq!(client.budgets()[0].spent, 0, "the past of the cap is no budget's");
    client.acquire(&call(3)).await.expect("three of five").settle_actual(&cost(3));
    let error = client.acquire(&call(1)).await.expect_err("five are spent");
    assert!(error.to_string().contains("spending cap of $0.0500"), "{error}");
    assert_eq!(client.budgets()[0].left, cents(7).as_amount());
    let left: Vec<_> = client.rooms().iter().map(|room| room.left()).collect();
    assert_eq!(left, [0, cents(7).as_amount()], "the cap, and the budget");
}

/// Keeps what it is told.
#[derive(Debug, Default)]
struct Kept(Mutex<Vec<Intent>>);

impl Record for Kept {
    fn intent<'a>(&'a self, intent: &'a Intent) -> Recorded<'a> {
        self.0.lock().expect("not poisoned").push(intent.clone());
        Box::pin(std::future::ready(Ok(())))
    }

    fn outcome(&self, _: &Outcome) -> Result<(), RecordError> {
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn a_tag_is_in_the_demand_the_record_the_budgets_and_the_estimate() {
    let long = GOOD.replace("\"completion_tokens\": 9", "\"completion_tokens\": 4000");
    let long = long.replace("\"total_tokens\": 140", "\"total_tokens\": 4131");
    let transport = MockTransport::by(move |sent| {
        let is_essay = String::from_utf8_lossy(sent.body()).contains("essay");
        Answer::new(200, if is_essay { long.clone() } else { GOOD.to_owned() })
    });
    let essays = LimitKey::Tag("essays".into());
    let tagged =
        Budget::total_tokens(1_000_000_000, Period::Run).expect("above zero").scope(essays);
    let kept = Arc::new(Kept::default());
    let builder = mocked(&transport).record(Arc::clone(&kept) as Arc<dyn Record>);
    let client = builder.budgets(budgets([tagged])).build().expect("legal settings");
    let essay = Chat::new("grok-4.3").user("An essay?").tag("essays");
    let short = Chat::new("grok-4.3").user("Hello?").tag("greetings");
    for _ in 0..30 {
        client.chat(&essay).await.expect("an answer");
        client.chat(&short).await.expect("an answer");
    }
    let demand = client.demand(&essay).expect("a known price");
    assert_eq!(demand.tag_name(), Some(&Tag::from("essays")));
    let tags: Vec<_> = kept.0.lock().expect("not poisoned").iter().map(|i| i.tag.clone()).collect();
    assert_eq!(tags[..2], [Some("essays".into()), Some("greetings".into())]);
    assert_eq!(client.budgets()[0].spent, 30 * 4_131, "of its own calls alone");
    // The same text is expected to be answered as its place in the program is.
    let output = |tag: &str| {
        let chat = Chat::new("grok-4.3").user("And this?").tag(tag);
        client.estimate(&chat).output().expected_amount()
    };
    let (essays, greetings) = (output("essays"), output("greetings"));
    assert!(essays > 2_000 && greetings < 200, "{essays} and {greetings}");
}

#[tokio::test(start_paused = true)]
async fn what_others_spend_meanwhile_counts_and_what_they_give_back_makes_room() {
    let client = client(budgets([daily(10)]));
    let held = client.acquire(&call(4)).await.expect("there is room");
    let reserved = Spend::new(now()).money(cents(5));
    assert_eq!(client.count_elsewhere([reserved.clone()], []), 0);
    assert_eq!(client.budgets()[0].left, cents(5).as_amount());
    // Five are left, of which four are held: six are refused, and two wait.
    let refused = client.acquire(&call(6)).await.expect_err("spent elsewhere");
    assert_eq!(refused.kind(), ErrorKind::BudgetReached);
    let waiting = tokio::spawn({
        let client = client.clone();
        async move { client.acquire(&call(2)).await }
    });
    tokio::task::yield_now().await;
    assert!(!waiting.is_finished());
    // It came to one cent, so the one that waits has room although nothing of ours is over.
    client.count_elsewhere([Spend::new(now()).money(cents(1))], [reserved]);
    let permit = waiting.await.expect("it ends").expect("there is room now");
    permit.settle_actual(&cost(2));
    held.settle_actual(&cost(4));
    let standing = client.budgets().pop().expect("one");
    assert_eq!((standing.spent, standing.excess), (cents(7).as_amount(), 0));
}

/// What a ledger says that earlier runs spent, and what others spend meanwhile, is nothing of this run.
#[tokio::test(start_paused = true)]
async fn a_budget_of_a_run_counts_its_own_calls_alone() {
    let run = Budget::money(cents(10), Period::Run).expect("above zero");
    let mut restored = budgets([run, daily(100)]);
    restored.restore([Spend::new(ago(1)).money(cents(9))]);
    let client = client(restored);
    let elsewhere = Spend::new(now()).money(cents(8));
    assert_eq!(client.count_elsewhere([elsewhere.clone()], []), 0);
    let left = |client: &Client| client.budgets().iter().map(|one| one.left).collect::<Vec<_>>();
    assert_eq!(left(&client), [cents(10).as_amount(), cents(83).as_amount()]);
    client.acquire(&call(10)).await.expect("all of it is there").settle_actual(&cost(6));
    client.count_elsewhere([], [elsewhere]);
    assert_eq!(left(&client), [cents(4).as_amount(), cents(85).as_amount()]);
    let error = client.acquire(&call(5)).await.expect_err("four are left");
    assert_eq!(error.kind(), ErrorKind::BudgetReached);
}

/// One token in all, for one scope: its first call is too large.
fn one_token(scope: LimitKey) -> Budgets {
    let budget = Budget::total_tokens(1, Period::Run).expect("above zero");
    budgets([budget.scope(scope)])
}

#[tokio::test(start_paused = true)]
async fn a_budget_of_an_alias_is_that_of_its_model_and_the_reverse() {
    let latest = "grok-4.3-latest";
    for scope in ["grok-4.3", latest] {
        let client = client(one_token(LimitKey::Model(scope.into())));
        for model in ["grok-4.3", latest] {
            let error = client.chat(&Chat::new(model).user("x")).await.expect_err("too large");
            assert_eq!(error.kind(), ErrorKind::TooLarge, "{scope}, {model}");
            let tokens = Amount::exact(2);
            let demand = Demand::new().model(model).with(Dimension::TotalTokens, tokens);
            let error = client.acquire(&demand).await.expect_err("too large");
            assert_eq!(error.kind(), ErrorKind::TooLarge, "{scope}, {model}");
        }
    }
    let cap = SpendingCap::new(Money::from_ticks(1), LimitKey::Model(latest.into()));
    let builder = mocked(&MockTransport::new()).spending_cap(cap.expect("above zero"));
    let client = builder.build().expect("legal settings");
    let error = client.chat(&Chat::new(latest).user("x")).await.expect_err("a tick is no call");
    assert_eq!(error.kind(), ErrorKind::BudgetReached);
}

#[tokio::test(start_paused = true)]
async fn a_caller_is_in_the_demand_the_record_and_the_budgets() {
    let transport = MockTransport::new().always(Answer::new(200, GOOD));
    let kept = Arc::new(Kept::default());
    let team = || LimitKey::Caller("team".into());
    let builder = mocked(&transport).record(Arc::clone(&kept) as Arc<dyn Record>);
    let client = builder.budgets(one_token(team())).build().expect("legal settings");
    let error = client.chat(&chat().caller("team")).await.expect_err("too large");
    assert_eq!(error.kind(), ErrorKind::TooLarge);
    let text = || JsonCall::post(Path::new("process"), "grok-2", json!({ "text": "x" }));
    let error = client.json(&text().caller("team")).await.expect_err("too large");
    assert_eq!(error.kind(), ErrorKind::TooLarge);
    client.chat(&chat().caller("others")).await.expect("no budget of theirs");
    let callers: Vec<_> =
        kept.0.lock().expect("not poisoned").iter().map(|intent| intent.caller.clone()).collect();
    assert_eq!(callers, [Some("others".into())]);
    let roomy = Budget::total_tokens(1_000_000_000, Period::Run).expect("above zero");
    let client = mocked(&transport).budgets(budgets([roomy.scope(team())])).build();
    let client = client.expect("legal settings");
    client.chat(&chat().caller("team")).await.expect("room");
    client.chat(&chat()).await.expect("no caller");
    assert_eq!(client.budgets()[0].spent, 140, "of its own calls alone");
}
