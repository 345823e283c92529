//! How a client is put together.

use std::collections::BTreeMap;
use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::Duration;

use paceline_budget::tiers::Tier;
use paceline_budget::{Budgets, Price, Record, SpendingCap};
use paceline_core::{Admission, ModelId};
use paceline_limiter::tokio::SharedLimiter;
use paceline_limiter::{Limiter, Overtaking, Profile, QueuePolicy};
use paceline_transport::{ApiKey, BaseUrl, Transport};

use crate::client::{Client, Parts};
use crate::discover::Ceilings;
use crate::error::{Error, ErrorKind};
use crate::learn::ServerRule;
use crate::retry::RetryPolicy;

/// Builds a [`Client`]. Every setting has a default; without any, the client calls
/// `https://api.x.ai/v1` with the key in `XAI_API_KEY`.
#[derive(Debug, Default)]
pub struct ClientBuilder {
    base_url: Option<String>,
    key: Option<ApiKey>,
    transport: Option<Arc<dyn Transport>>,
    admission: Option<Arc<dyn Admission>>,
    record: Option<Arc<dyn Record>>,
    profile: Option<Profile>,
    learned: BTreeMap<ModelId, ServerRule>,
    delay: Option<Duration>,
    rps: Option<NonZeroU64>,
    rpm: Option<NonZeroU64>,
    tpm: Option<NonZeroU64>,
    in_flight: Option<NonZeroU64>,
    share: Option<f64>,
    tier: Tier,
    cap: Option<SpendingCap>,
    budgets: Budgets,
    price: Option<Price>,
    retry: RetryPolicy,
}

/// Where xAI answers.
pub const XAI_BASE_URL: &str = "https://api.x.ai/v1";
/// The variable that holds the key for xAI, and for nobody else.
pub const XAI_KEY_VARIABLE: &str = "XAI_API_KEY";

impl ClientBuilder {
    /// Another base address than [`XAI_BASE_URL`], with its `/v1`: https, or http on loopback.
    #[must_use]
    pub fn base_url(mut self, url: impl Into<String>) -> Self {
        self.base_url = Some(url.into());
        self
    }

    /// The key. Default: that in [`XAI_KEY_VARIABLE`], for x.ai hosts and loopback only.
    #[must_use]
    pub fn api_key(mut self, key: ApiKey) -> Self {
        self.key = Some(key);
        self
    }

    /// Another way onto the wire than reqwest.
    #[must_use]
    pub fn transport(mut self, transport: impl Transport + 'static) -> Self {
        self.transport = Some(Arc::new(transport));
        self
    }

    /// Another admission than a limiter of this process. Limits that become known are told to it
    /// through [`Admission::observe`].
    #[must_use]
    pub fn admission(mut self, admission: Arc<dyn Admission>) -> Self {
        self.admission = Some(admission);
        self
    }

    /// Where attempts are recorded, each before it leaves. Default: nowhere.
    #[must_use]
    pub fn record(mut self, record: Arc<dyn Record>) -> Self {
        self.record = Some(record);
        self
    }

    /// How limits are kept. Default: [`Profile::Grok`] for x.ai hosts and loopback,
    /// [`Profile::Smooth`] for others.
    #[must_use]
    pub const fn profile(mut self, profile: Profile) -> Self {
        self.profile = Some(profile);
        self
    }

    /// What an earlier client [had learned](Client::learned) of the server's rules. Default: nothing.
    ///
    /// Where no profile was named and the host is neither xAI's nor on loopback, the tokens of a model
    /// are kept by [`Profile::Smooth`] until it is clear that the server counts them when a call is
    /// over; then by [`Profile::Grok`], which uses several times as much of the quota where calls are
    /// long.
    #[must_use]
    pub fn learned(mut self, rules: BTreeMap<ModelId, ServerRule>) -> Self {
        self.learned = rules;
        self
    }

    /// The bound on the variation of the one-way delay. Default: 75 ms on loopback, 250 ms
    /// elsewhere.
    #[must_use]
    pub const fn delay_bound(mut self, bound: Duration) -> Self {
        self.delay = Some(bound);
        self
    }

    /// At most so many requests in any second. A lower limit that the server states wins.
    #[must_use]
    pub const fn requests_per_second(mut self, limit: NonZeroU64) -> Self {
        self.rps = Some(limit);
        self
    }

    /// At most so many requests in any minute. Without a limit per second, that is ⌊RPM/48⌋, at
    /// least 2.
    #[must_use]
    pub const fn requests_per_minute(mut self, limit: NonZeroU64) -> Self {
        self.rpm = Some(limit);
        self
    }

    /// At most so many tokens, input and output together, in any minute.
    #[must_use]
    pub const fn tokens_per_minute(mut self, limit: NonZeroU64) -> Self {
        self.tpm = Some(limit);
        self
    }

    /// At most so many calls at once. Default: no bound but the other limits.
    #[must_use]
    pub const fn max_in_flight(mut self, limit: NonZeroU64) -> Self {
        self.in_flight = Some(limit);
        self
    }

    /// The part of every limit that is used, above 0 up to 1. Default: 1. Less than that leaves
    /// room for others on the same team.
    #[must_use]
    pub const fn quota_share(mut self, share: f64) -> Self {
        self.share = Some(share);
        self
    }

    /// The tier whose table holds until the server has stated its limits. Default: tier 0.
    #[must_use]
    pub const fn tier(mut self, tier: Tier) -> Self {
        self.tier = tier;
        self
    }

    /// A cap on what is spent. Models need a price then.
    #[must_use]
    pub fn spending_cap(mut self, cap: SpendingCap) -> Self {
        self.cap = Some(cap);
        self
    }

    /// Budgets to keep, beside the cap if there is one. Default: none. Restore what was spent before
    /// first, such as from a ledger.
    ///
    /// A hard budget of money needs a price for every model whose calls it counts. Money that calls in
    /// flight hold makes others wait; what is spent refuses them with [`ErrorKind::BudgetReached`],
    /// until the period ends. Periods are told by the wall clock, in UTC.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use paceline::budget::{Budget, Budgets, Period};
    /// use paceline::core::{LimitKey, Money};
    /// use paceline::{Chat, Client};
    /// # use paceline_transport::mock::MockTransport;
    /// # let transport = MockTransport::new().answer(200, r#"{
    /// #   "choices": [{"message": {"role": "assistant", "content": "An arachnid."}}],
    /// #   "usage": {"prompt_tokens": 140, "completion_tokens": 4, "total_tokens": 144}}"#);
    /// let mut budgets = Budgets::new();
    /// budgets.add(Budget::money(Money::from_usd(20), Period::Day)?)?;
    /// let evals = LimitKey::Tag("evals".into());
    /// budgets.add(Budget::money(Money::from_usd(100), Period::Month)?.scope(evals).warn_only())?;
    /// let client = Client::builder()
    /// #   .base_url("http://127.0.0.1:1/v1").transport(transport)
    ///     .budgets(budgets)
    ///     .build()?;
    /// client.chat(&Chat::new("grok-4.3").user("What is a spider?").tag("evals")).await?;
    /// for standing in client.budgets() {
    ///     println!("{}: {} ticks spent", standing.budget, standing.spent);
    ///     # assert_eq!(standing.spent, 140 * 12_500 + 4 * 25_000);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn budgets(mut self, budgets: Budgets) -> Self {
        self.budgets = budgets;
        self
    }

    /// The price of every model, in place of the table's.
    #[must_use]
    pub const fn price(mut self, price: Price) -> Self {
        self.price = Some(price);
        self
    }

    /// How calls are retried.
    #[must_use]
    pub const fn retry(mut self, policy: RetryPolicy) -> Self {
        self.retry = policy;
        self
    }

    /// Builds the client.
    ///
    /// # Errors
    /// [`ErrorKind::Settings`] where an address, the share or the transport is not usable, or no
    /// key is known for an x.ai host.
    pub fn build(self) -> Result<Client, Error> {
        let base = BaseUrl::parse(self.base_url.as_deref().unwrap_or(XAI_BASE_URL))
            .map_err(|error| settings("the base address is not usable").because(error))?;
        let share = thousandths(self.share.unwrap_or(1.0))?;
        let key = match self.key {
            Some(key) => Some(key),
            None => key_from_environment(&base)?,
        };
        let transport = match self.transport {
            Some(transport) => transport,
            None => default_transport()?,
        };
        let is_known = base.is_xai() || base.is_loopback();
        let delay = self.delay.unwrap_or(if base.is_loopback() { LOOPBACK } else { ELSEWHERE });
        let profile =
            self.profile.unwrap_or(if is_known { Profile::Grok } else { Profile::Smooth });
        let limiter = self.admission.is_none().then(|| limiter(profile, delay)).transpose()?;
        let own = limiter.clone().map(|limiter| Arc::new(limiter) as Arc<dyn Admission>);
        let Some(admission) = self.admission.or(own) else {
            return Err(settings("there is no admission"));
        };
        let ceilings = Ceilings {
            rps: self.rps,
            rpm: self.rpm,
            tpm: self.tpm,
            share,
            tier: is_known.then_some(self.tier),
        };
        Ok(Client::from_parts(Parts {
            base,
            key,
            transport,
            admission,
            limiter,
            // Whoever names a profile keeps it.
            open_profile: (self.profile.is_none() && !is_known).then_some(delay),
            learned: self.learned,
            record: self.record,
            ceilings,
            in_flight: self.in_flight,
            cap: self.cap,
            budgets: self.budgets,
            price: self.price,
            retry: self.retry,
        }))
    }
}

/// A limiter in which a model that has to wait holds up no call of another.
fn limiter(profile: Profile, delay: Duration) -> Result<SharedLimiter, Error> {
    let policy = QueuePolicy::new().overtaking(Overtaking::IfHeadKeepsItsTime);
    let limiter = Limiter::new().with_profile(profile).with_delay(delay).with_queue(policy);
    let limiter = limiter.map_err(|error| settings("the queue can't be kept").because(error))?;
    Ok(SharedLimiter::new(limiter))
}

const LOOPBACK: Duration = Duration::from_millis(75);
const ELSEWHERE: Duration = Duration::from_millis(250);

fn settings(message: &str) -> Error {
    Error::new(ErrorKind::Settings, message)
}

fn thousandths(share: f64) -> Result<u32, Error> {
    if share > 0.0 && share <= 1.0 {
        // Rounded down, but a share above 0 stays above 0.
        Ok(((share * 1_000.0) as u32).max(1))
    } else {
        Err(settings("a quota share is above 0 and at most 1"))
    }
}

/// The key in the environment, for those hosts alone that it is for.
fn key_from_environment(base: &BaseUrl) -> Result<Option<ApiKey>, Error> {
    if !base.is_xai() && !base.is_loopback() {
        return Ok(None);
    }
    match std::env::var(XAI_KEY_VARIABLE) {
        Ok(key) => {
            let key = ApiKey::new(key)
                .map_err(|error| settings("the key in XAI_API_KEY is not usable").because(error))?;
            Ok(Some(key))
        }
        Err(_) if base.is_loopback() => Ok(None),
        Err(_) => Err(settings("there is no key: set XAI_API_KEY, or give one to the builder")),
    }
}

#[cfg(feature = "reqwest")]
fn default_transport() -> Result<Arc<dyn Transport>, Error> {
    let transport = paceline_transport::reqwest::ReqwestTransport::new()
        .map_err(|error| settings("the HTTP transport can't be set up").because(error))?;
    Ok(Arc::new(transport))
}

#[cfg(not(feature = "reqwest"))]
fn default_transport() -> Result<Arc<dyn Transport>, Error> {
    Err(settings("there is no transport: give one, or switch the feature reqwest on"))
}
