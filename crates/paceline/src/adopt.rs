//! What a client makes of what the server's headers say: limits, remainders, and the server's rule.
//!
//! It decides nothing: [`Discover`](crate::discover::Discover) and [`Models`](crate::learn::Models) do.

use std::collections::BTreeMap;
use std::time::Duration;

use paceline_core::{ChargeMoment, Dimension, LimitKey, ModelId, Observation, UnixMillis};
use paceline_limiter::{ChargeRule, Profile};
use paceline_transport::headers::{RateHeaders, StatedLimit};

use crate::call::Call;
use crate::client::{Client, lock};
use crate::learn::{CountedAt, Number, ServerRule};

impl Client {
    /// What was learned of the server's rule for the tokens of each model, from what its answers said
    /// was left. Give it to [`ClientBuilder::learned`](crate::ClientBuilder::learned) of a later client.
    ///
    /// Learned from: `x-ratelimit-remaining-tokens`, beside what the calls of this client used. Where
    /// somebody else uses the same quota, or more than 1,024 calls fall into two minutes, nothing is.
    pub fn learned(&self) -> BTreeMap<ModelId, ServerRule> {
        lock(&self.0.learning).rules()
    }

    /// A call leaves now that asks for so many tokens of input.
    pub(crate) fn learns_of(&self, call: &Call, input: u64) -> Option<Number> {
        let now = self.0.admission.now();
        let most = call.cap.map(|cap| cap.saturating_add(input));
        lock(&self.0.learning).sent(call.shape.model(), most, now)
    }

    /// It is over, and used so many tokens, where that is known.
    pub(crate) fn learned_end(&self, model: &ModelId, number: Option<Number>, used: Option<u64>) {
        let Some(number) = number else { return };
        let now = self.0.admission.now();
        let clear = lock(&self.0.learning).over(model, number, used, now);
        if let Some(counted_at) = clear {
            tracing::info!(%model, ?counted_at, "learned when the server counts tokens");
            self.follow(model, counted_at);
        }
    }

    /// Takes in the limits that an answer's headers state, and what they say is left.
    pub(crate) fn adopt(&self, model: &ModelId, number: Option<Number>, headers: &RateHeaders) {
        let is_new = self.learn_limits(|discover| discover.headers(model, headers));
        let others = headers.rates().iter().filter_map(|rate| match rate.dimension()? {
            kind @ (Dimension::InputTokens | Dimension::OutputTokens) => {
                rate.window().filter(|window| *window == MINUTE)?;
                Some((kind, rate.limit(), rate.remaining()))
            }
            _ => None,
        });
        let limits = [
            (Dimension::Requests, headers.limit_requests(), headers.remaining_requests()),
            (Dimension::TotalTokens, headers.limit_tokens(), headers.remaining_tokens()),
        ];
        for (dimension, limit, remaining) in limits.into_iter().chain(others) {
            let (Some(StatedLimit::Limit(limit)), Some(remaining)) = (limit, remaining) else {
                continue;
            };
            let key = LimitKey::Model(model.clone());
            let left = self.left(model, dimension, remaining, limit);
            self.0.admission.observe(&Observation::Remaining {
                key,
                dimension,
                remaining: left,
                limit,
            });
            if let (Dimension::TotalTokens, Some(number)) = (dimension, number) {
                let now = self.0.admission.now();
                // Not read again: what was learned from must not jump where the clock is set.
                let (began, wall) = self.0.began;
                let passed = i64::try_from(now.since(began).as_millis()).unwrap_or(i64::MAX);
                let wall = UnixMillis::new(wall.as_millis().saturating_add(passed));
                lock(&self.0.learning).told(model, number, (remaining, limit), now, wall);
            }
        }
        if is_new {
            let counted_at = lock(&self.0.learning).counted_at(model);
            counted_at.into_iter().for_each(|counted_at| self.follow(model, counted_at));
        }
    }

    /// What is left of a limit, by what a server of an unknown rule says is left. One that never holds
    /// its whole limit at once, such as a small bucket, is full at the most that it ever said.
    fn left(&self, model: &ModelId, dimension: Dimension, remaining: u64, limit: u64) -> u64 {
        if self.0.open_profile.is_none() {
            return remaining;
        }
        let now = self.0.admission.now();
        let most = lock(&self.0.learning).most_left(model, dimension, (remaining, limit), now);
        remaining.saturating_add(limit.saturating_sub(most)).min(limit)
    }

    /// Keeps the tokens of a model as a server does that counts then.
    fn follow(&self, model: &ModelId, counted_at: CountedAt) {
        let key = LimitKey::Model(model.clone());
        let dimension = Dimension::TotalTokens;
        let moment = match counted_at {
            CountedAt::Completion => ChargeMoment::Completion,
            CountedAt::Arrival | CountedAt::HeldAtMost => ChargeMoment::Arrival,
        };
        self.0.admission.observe(&Observation::CountedOn { key: key.clone(), dimension, moment });
        let (Some(limiter), Some(delay)) = (&self.0.limiter, self.0.open_profile) else { return };
        if moment != ChargeMoment::Completion {
            return;
        }
        for limit in limiter.snapshot().limits {
            let is_it = limit.key == key && limit.dimension == dimension;
            if is_it && limit.rule != ChargeRule::Flow && limit.quota.window() == Some(MINUTE) {
                let flow = Profile::Grok.limit(key.clone(), dimension, limit.quota, delay);
                // What a profile makes of a quota that is in force is legal.
                limiter.add(flow).ok();
            }
        }
    }
}

const MINUTE: Duration = Duration::from_secs(60);
