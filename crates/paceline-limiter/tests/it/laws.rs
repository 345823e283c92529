//! S1 to S5 and L1 under random sequences that shrink: the limiter beside a naive one, and its
//! pacer beside an exact bucket.

use std::time::Duration;

use paceline_core::{
    Actual, Amount, Completion, Demand, Dimension, Instant, LimitKey, Quota, Refusal,
};
use paceline_limiter::{ChargeRule, Limit, Limiter, Pacing};
use paceline_sim::engine::{Ask, Charge, Meter, Rule, Shape};
use proptest::prelude::*;

use crate::oracle::naive::{Deed, Pair, Setting, Step};
use crate::oracle::plan::not_zero;
use crate::oracle::random::Random;

fn setting() -> impl Strategy<Value = Setting> {
    let rule = prop_oneof![
        Just(ChargeRule::Completion),
        Just(ChargeRule::Arrival),
        Just(ChargeRule::HeldMax)
    ];
    (rule, 1..400_u64, 0..80_u64, 0..300_u64, 1..8_u64, 1..60_u64).prop_map(
        |(rule, window, delay, latest, requests, tokens)| Setting {
            rule,
            window,
            delay,
            latest,
            requests,
            tokens,
        },
    )
}

fn step() -> impl Strategy<Value = Step> {
    let deed = prop_oneof![
        8 => (0..70_u64).prop_map(Deed::Acquire),
        3 => Just(Deed::Send),
        1 => Just(Deed::Head),
        3 => (-60..=0_i64).prop_map(Deed::Settle),
        1 => (1..100_i64).prop_map(Deed::Settle),
        1 => Just(Deed::SettleUnknown),
        1 => Just(Deed::Cancel),
        1 => (1..60_u64).prop_map(Deed::SetLimit),
        1 => (0..1_000_u64).prop_map(Deed::StepBack),
    ];
    // Now and then a leap.
    let pause = prop_oneof![4 => 0..4_u64, 4 => 0..120_u64, 1 => 0..500_u64, 1 => 0..1_000_000_u64];
    (pause, deed).prop_map(|(pause, deed)| Step { pause, deed })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    /// S1, S2, S3, S4, S5, and L1 to the nanosecond: every verdict, every moment named for a
    /// retry, every sum.
    #[test]
    fn it_decides_as_a_naive_limiter_does(
        setting in setting(),
        steps in prop::collection::vec(step(), 1..60),
    ) {
        let mut pair = Pair::new(setting);
        for step in steps {
            pair.step(step, true);
            pair.check();
        }
    }

    /// S1 and S4 of the pacer: calls, by what they used, pass an exact bucket of its burst and
    /// rate, whenever they are settled. L1: the moment named is the first.
    #[test]
    fn what_a_pacer_lets_through_passes_an_exact_bucket(
        (limit, burst) in (2..200_u64).prop_flat_map(|limit| (Just(limit), 1..limit)),
        window in 1..1_000_000_u64,
        delay in 0..100_000_u64,
        is_bucket in any::<bool>(),
        calls in prop::collection::vec((0..200_u64, 0..=100_u64, 0..8_u64, 0..100_000_u64), 1..60),
    ) {
        let quota = Quota::per(not_zero(limit), Duration::from_nanos(window)).expect("a window");
        let burst = if is_bucket { limit } else { burst };
        let pacing = if is_bucket { Pacing::Bucket } else { Pacing::Burst(not_zero(burst)) };
        let base = Limit::new(LimitKey::All, Dimension::TotalTokens, quota);
        let mut limiter = Limiter::new();
        let delay = Duration::from_nanos(delay);
        limiter
            .add(base.charged(ChargeRule::Arrival).delay(delay).paced(pacing))
            .expect("a legal limit");
        let (rate, period) =
            if is_bucket { (limit, 0) } else { (limit - burst, delay.as_nanos() as u64) };
        let bucket = Shape::Bucket { capacity: burst };
        let period = Duration::from_nanos(window + period);
        let rule = Rule::new(rate, period, bucket, Charge::Arrival).expect("a legal rule");
        let mut meter = Meter::new(rule);
        let (mut now, mut open) = (1_u64 << 40, Vec::new());
        for (amount, percent, later, pause) in calls {
            let amount = (amount % burst) + 1;
            let used = amount * percent / 100;
            let demand = Demand::new().with(Dimension::TotalTokens, Amount::exact(amount));
            let answer = limiter.try_acquire(&demand, Instant::from_nanos(now));
            let receipt = match answer {
                Ok(receipt) => receipt,
                Err(Refusal::NotUntil(blocked)) => {
                    let Some(until) = blocked.until else { continue };
                    if until.as_nanos() > now + 1 {
                        let just_before = Instant::from_nanos(until.as_nanos() - 1);
                        prop_assert!(limiter.try_acquire(&demand, just_before).is_err());
                    }
                    now = until.as_nanos();
                    match limiter.try_acquire(&demand, until) {
                        Ok(receipt) => receipt,
                        Err(other) => {
                            return Err(TestCaseError::fail(format!("{until}: {other:?}")));
                        }
                    }
                }
                Err(other) => return Err(TestCaseError::fail(format!("{other:?}"))),
            };
            limiter.sent(receipt, Instant::from_nanos(now));
            let judged = meter.arrive(Ask::new(used), Instant::from_nanos(now));
            prop_assert!(judged.is_ok(), "{judged:?}");
            open.push((later, receipt, used));
            now += pause;
            for (left, ..) in &mut open {
                *left = left.saturating_sub(1);
            }
            for (_, receipt, used) in open.extract_if(.., |(left, ..)| *left == 0) {
                let actual = Actual::new().with(Dimension::TotalTokens, used);
                limiter.settle(receipt, &actual, Instant::from_nanos(now));
            }
        }
    }

    /// S4: an overrun delays what comes after it for as long as the pacer takes for it.
    #[test]
    fn an_overrun_is_paid_off_by_the_pacer(
        (limit, burst) in (2..200_u64).prop_flat_map(|limit| (Just(limit), 1..limit)),
        over in 1..500_u64,
    ) {
        let window = Duration::from_secs(1);
        let quota = Quota::per(not_zero(limit), window).expect("a window");
        let base = Limit::new(LimitKey::All, Dimension::TotalTokens, quota);
        let mut limiter = Limiter::new();
        limiter
            .add(base.delay(Duration::ZERO).paced(Pacing::Burst(not_zero(burst))))
            .expect("a legal limit");
        let ask = |amount| Demand::new().with(Dimension::TotalTokens, Amount::exact(amount));
        let now = Instant::ORIGIN + Duration::from_secs(9);
        let receipt = limiter.try_acquire(&ask(burst), now).expect("the burst is whole");
        let used = Actual::new().with(Dimension::TotalTokens, burst + over);
        limiter.settle(receipt, &used, now);
        let Err(Refusal::NotUntil(blocked)) = limiter.try_acquire(&ask(1), now) else {
            panic!("nothing is left")
        };
        let owed = u128::from(over + 1) * window.as_nanos();
        let least = owed.div_ceil(u128::from(limit - burst));
        let until = blocked.until.expect("time brings it").since(now).as_nanos();
        prop_assert!(until >= least, "{until} {least}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10))]

    /// S1f in the long run: with calls waiting all the time, what settles in any time stays within
    /// L T/W + 2 L, one call, and what was in flight; the calls come to more than was expected.
    #[test]
    fn under_flow_the_mean_stays_at_the_limit(
        lasts in 10..4_000_u64,
        expected in 1..100_u64,
        times in 1..20_u64,
        seed in any::<u64>(),
    ) {
        const LIMIT: u64 = 10_000;
        let quota = Quota::per(not_zero(LIMIT), Duration::from_secs(1)).expect("a window");
        let base = Limit::new(LimitKey::All, Dimension::TotalTokens, quota);
        let mut limiter = Limiter::new();
        limiter.add(base.charged(ChargeRule::Flow)).expect("a legal limit");
        let upper = expected * times;
        let demand = Demand::call(Amount::expected(expected).upper(upper)).completes(
            Completion::between(Duration::ZERO, Duration::from_millis(lasts)),
        );
        let mut random = Random::new(seed);
        let (start, mut open, mut settled, mut worst) = (1_000_000, Vec::new(), 0, 0);
        // Each millisecond of a minute.
        for milli in start..start + 60_000_u64 {
            let now = Instant::from_nanos(milli * 1_000_000);
            let passed = (milli - start) * LIMIT / 1_000;
            for (_, receipt) in open.extract_if(.., |(at, _)| *at <= milli) {
                let used = random.between(upper.div_ceil(2), upper);
                settled += used;
                let actual = Actual::new().with(Dimension::TotalTokens, used);
                limiter.settle(receipt, &actual, now);
            }
            let flying = open.len() as u64 * upper;
            worst = worst.max(flying);
            let most = passed + 2 * LIMIT + upper + worst;
            prop_assert!(settled <= most, "{settled} of {most} after {} ms", milli - start);
            while let Ok(receipt) = limiter.try_acquire(&demand, now) {
                limiter.sent(receipt, now);
                open.push((milli + random.between(1, lasts), receipt));
            }
        }
        // And it is no idle bound.
        let least = 60 * LIMIT / 4;
        prop_assert!(settled >= least, "{settled} in a minute");
    }
}
