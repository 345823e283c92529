//! Deadlines that are refused at once, beside a queue that is served to the end without them.
//!
//! The oracle is a second limiter with the same past, in which the one that was refused waits
//! without a deadline while calls end as they please. Invariant: it is never admitted by then.

use std::time::Duration;

use paceline_core::{
    Actual, Amount, Demand, Dimension, Instant, LimitKey, Quota, Receipt, Refusal,
};
use paceline_limiter::{ChargeRule, Limit, Limiter, Pacing, Served};
use proptest::prelude::*;

use crate::oracle::plan::not_zero;

const MILLI: Duration = Duration::from_millis(1);

fn at(millis: u64) -> Instant {
    Instant::ORIGIN + Duration::from_secs(1_000) + Duration::from_millis(millis)
}

#[derive(Clone, Debug)]
struct Setting {
    requests: u64,
    tokens: u64,
    window: u64,
    rule: ChargeRule,
    pacing: Pacing,
}

/// One who comes.
#[derive(Clone, Copy, Debug)]
struct Comer {
    after: u64,
    tokens: u64,
    /// How much more it may use than is expected.
    more: u64,
    /// How long it would wait; 0: as long as it takes.
    patience: u64,
    /// How many steps of a millisecond its call lasts, and the part it uses of what is uncertain.
    lasts: u64,
    uses: u64,
}

/// A limiter and its calls, all ended by one rule that only the comer decides.
struct Life {
    limiter: Limiter,
    now: u64,
    waiting: Vec<(paceline_limiter::Ticket, Comer)>,
    running: Vec<(u64, Receipt, Actual)>,
}

fn limiter(setting: &Setting) -> Limiter {
    let mut limiter = Limiter::new();
    let window = Duration::from_millis(setting.window);
    let quota = |amount| Quota::per(not_zero(amount), window).expect("a window");
    let requests = Limit::new(LimitKey::All, Dimension::Requests, quota(setting.requests));
    let tokens = Limit::new(LimitKey::All, Dimension::TotalTokens, quota(setting.tokens));
    for limit in
        [requests.delay(MILLI).paced(setting.pacing), tokens.delay(MILLI).charged(setting.rule)]
    {
        limiter.add(limit).expect("a legal limit");
    }
    limiter
}

fn demand(comer: Comer) -> Demand {
    Demand::call(Amount::expected(comer.tokens).upper(comer.tokens + comer.more))
}

impl Life {
    fn admitted(&mut self, comer: Comer, receipt: Receipt) {
        let now = at(self.now);
        self.limiter.sent(receipt, now);
        self.limiter.head_received(receipt, now);
        let upper = comer.tokens + comer.more;
        let used = if comer.more == 0 { upper } else { comer.uses % (upper + 1) };
        let actual = Actual::new().with(Dimension::TotalTokens, used);
        self.running.push((self.now + comer.lasts, receipt, actual));
        self.end();
    }

    fn end(&mut self) {
        let now = self.now;
        let (over, running) = self.running.iter().partition(|(end, ..)| *end <= now);
        self.running = running;
        let over: Vec<(u64, Receipt, Actual)> = over;
        for (_, receipt, actual) in over {
            self.limiter.settle(receipt, &actual, at(now));
        }
    }

    /// On to a moment; who was admitted on the way.
    fn go_on(&mut self, until: u64) -> Vec<paceline_limiter::Ticket> {
        let mut admitted = Vec::new();
        loop {
            self.end();
            while let Some(served) = self.limiter.poll(at(self.now)) {
                let (Served::Granted(ticket, _) | Served::Refused(ticket, _)) = served else {
                    panic!("not known how to serve {served:?}");
                };
                let place = self.waiting.iter().position(|(other, _)| *other == ticket);
                let (_, comer) = self.waiting.remove(place.expect("only waiters are served"));
                if let Served::Granted(_, receipt) = served {
                    admitted.push(ticket);
                    self.admitted(comer, receipt);
                }
            }
            if self.now >= until {
                return admitted;
            }
            self.now += 1;
        }
    }

    fn ask(
        &mut self,
        comer: Comer,
        deadline: Option<u64>,
    ) -> Result<Option<paceline_limiter::Ticket>, Refusal> {
        let ask = demand(comer);
        if let Ok(receipt) = self.limiter.try_acquire(&ask, at(self.now)) {
            self.admitted(comer, receipt);
            return Ok(None);
        }
        let ask = deadline.map_or(ask.clone(), |deadline| ask.deadline(at(deadline)));
        let ticket = self.limiter.enqueue(ask, at(self.now))?;
        self.waiting.push((ticket, comer));
        Ok(Some(ticket))
    }
}

/// Lets them come one after the other; `last` is asked without its deadline. What became of it.
fn live(setting: &Setting, comers: &[Comer], without: Option<usize>) -> (Life, Vec<usize>) {
    let limiter = limiter(setting);
    let mut life = Life { limiter, now: 0, waiting: Vec::new(), running: Vec::new() };
    let mut refused = Vec::new();
    for (number, comer) in comers.iter().enumerate() {
        life.go_on(life.now + comer.after);
        let deadline = (comer.patience > 0).then(|| life.now + comer.patience);
        let Some(deadline) = deadline.filter(|_| without == Some(number)) else {
            if let Err(Refusal::Deadline { earliest }) = life.ask(*comer, deadline) {
                assert!(earliest.is_none_or(|at_least| Some(at_least) > deadline.map(at)));
                refused.push(number);
            }
            continue;
        };
        let ticket = life.ask(*comer, None).expect("it may wait").expect("it was not admitted");
        let admitted = life.go_on(deadline);
        assert!(!admitted.contains(&ticket), "{number} was refused and would have been in time");
        break;
    }
    (life, refused)
}

fn setting() -> impl Strategy<Value = Setting> {
    let rule = prop_oneof![Just(ChargeRule::Completion), Just(ChargeRule::Arrival)];
    let pacing = prop_oneof![Just(Pacing::None), Just(Pacing::Even), Just(Pacing::Bucket)];
    (1..6_u64, 20..60_u64, 20..200_u64, rule, pacing).prop_map(
        |(requests, tokens, window, rule, pacing)| Setting {
            requests,
            tokens,
            window,
            rule,
            pacing,
        },
    )
}

fn comer(rule: ChargeRule) -> impl Strategy<Value = Comer> {
    // What is counted on arrival is taken to stay: there nothing uncertain is in flight.
    let more = if rule == ChargeRule::Arrival { 1 } else { 10_u64 };
    (0..10_u64, 1..11_u64, prop_oneof![Just(0_u64), 0..more], 0..600_u64, 0..40_u64, 0..20_u64)
        .prop_map(|(after, tokens, more, patience, lasts, uses)| Comer {
            after,
            tokens,
            more,
            patience,
            lasts,
            uses,
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn whoever_is_refused_for_its_deadline_would_not_have_been_in_time(
        (setting, comers) in setting().prop_flat_map(|setting| {
            let comers = prop::collection::vec(comer(setting.rule), 1..40);
            (Just(setting), comers)
        }),
    ) {
        let (_, refused) = live(&setting, &comers, None);
        for number in refused {
            live(&setting, &comers, Some(number));
        }
    }
}

#[test]
fn those_in_front_are_reckoned_with_as_far_as_they_are_certain() {
    let setting = Setting {
        requests: 2,
        tokens: 60,
        window: 1_000,
        rule: ChargeRule::Completion,
        pacing: Pacing::None,
    };
    let one = Comer { after: 0, tokens: 1, more: 0, patience: 0, lasts: 0, uses: 0 };
    // Two a second: the seventh waits for more than three seconds.
    for (patience, is_refused) in [(2_990, true), (3_100, false)] {
        let mut comers = vec![one; 6];
        comers.push(Comer { patience, ..one });
        assert_eq!(live(&setting, &comers, None).1, if is_refused { vec![6] } else { vec![] });
    }
    // Those who may leave before take nothing for certain.
    let mut comers = vec![one, one];
    comers.extend([Comer { patience: 2_100, ..one }; 4]);
    comers.push(Comer { patience: 2_500, ..one });
    assert_eq!(live(&setting, &comers, None).1, [] as [usize; 0]);
}
