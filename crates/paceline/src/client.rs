//! The client: one handle for estimating, waiting, sending and settling.
//!
//! It composes; the rules live in the crates below. Invariant: every call that was admitted is
//! settled or cancelled exactly once, on every way out, a dropped future included.

use std::collections::BTreeMap;
use std::fmt;
use std::num::NonZeroU64;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use paceline_budget::{
    Accuracy, Budgets, Estimate, Estimator, EstimatorState, Price, PriceTable, Record, Room, Spend,
    SpendingCap, Standing, Tokenizer, tiers,
};
use paceline_core::{
    Actual, Admission, Amount, Demand, Dimension, Instant, LimitKey, ModelId, Money, Observation,
    Quota, Receipt, Refusal, UnixMillis,
};
use paceline_limiter::Snapshot;
use paceline_limiter::tokio::SharedLimiter;
use paceline_transport::{ApiKey, BaseUrl, Transport};

use crate::attempt::Whole;
use crate::budgets::Keeper;
use crate::builder::ClientBuilder;
use crate::call::Call;
use crate::demand::Asking;
use crate::discover::{Ceilings, Discover, KnownLimit};
use crate::error::{Error, ErrorKind};
use crate::event::{EventKind, Events, Told};
use crate::learn::{Models, ServerRule};
use crate::line::Lines;
use crate::permit::Permit;
use crate::reply::Reply;
use crate::request::{Chat, JsonCall, Responses};
use crate::retry::{RetryBudget, RetryPolicy};
use crate::stream::{ReplyStream, Streamed};
use crate::terms::AskedTerms;

/// A client that uses all of a quota and none beyond it. Clones are cheap and share everything.
///
/// ```
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use paceline::{Chat, Client};
/// # use paceline_transport::mock::MockTransport;
/// # let transport = MockTransport::new().answer(200, r#"{
/// #   "choices": [{"message": {"role": "assistant", "content": "An arachnid."}}],
/// #   "usage": {"prompt_tokens": 140, "completion_tokens": 4, "total_tokens": 144}}"#);
/// let client = Client::builder()
/// #   .base_url("http://127.0.0.1:1/v1").transport(transport)
///     .build()?;
/// let reply = client.chat(&Chat::new("grok-4.3").user("What is a spider?")).await?;
/// println!("{} ({:?})", reply.text().unwrap_or_default(), reply.cost());
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Client(pub(crate) Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) base: BaseUrl,
    pub(crate) key: Option<ApiKey>,
    pub(crate) transport: Arc<dyn Transport>,
    pub(crate) admission: Arc<dyn Admission>,
    pub(crate) limiter: Option<SharedLimiter>,
    /// The delay bound of limits whose profile may follow what is learned of the server.
    pub(crate) open_profile: Option<Duration>,
    pub(crate) learning: Mutex<Models>,
    /// One moment on the admission's clock and on the wall's.
    pub(crate) began: (Instant, UnixMillis),
    pub(crate) record: Option<Arc<dyn Record>>,
    pub(crate) retry: RetryPolicy,
    pub(crate) retry_budget: Mutex<RetryBudget>,
    pub(crate) estimator: Mutex<Estimator>,
    discover: Mutex<Discover>,
    pub(crate) prices: Mutex<PriceTable>,
    price: Option<Price>,
    tokenizer: Option<Arc<dyn Tokenizer>>,
    has_cap: bool,
    budgets: Mutex<Keeper>,
    /// Why nothing more may be sent, once that is known.
    pub(crate) told: Told,
    pub(crate) stopped: Mutex<Option<(ErrorKind, String)>>,
    /// Who may stand in the admission's queue.
    pub(crate) lines: Lines,
    /// Refusals for the rate since the last good answer.
    pub(crate) refusals: AtomicU64,
    /// Tells the names that this client gives from those of others on the same record.
    own: u64,
    calls: AtomicU64,
}

pub(crate) struct Parts {
    pub(crate) base: BaseUrl,
    pub(crate) key: Option<ApiKey>,
    pub(crate) transport: Arc<dyn Transport>,
    pub(crate) admission: Arc<dyn Admission>,
    pub(crate) limiter: Option<SharedLimiter>,
    pub(crate) open_profile: Option<Duration>,
    pub(crate) learned: BTreeMap<ModelId, ServerRule>,
    pub(crate) record: Option<Arc<dyn Record>>,
    pub(crate) ceilings: Ceilings,
    pub(crate) in_flight: Option<NonZeroU64>,
    pub(crate) cap: Option<SpendingCap>,
    pub(crate) budgets: Budgets,
    pub(crate) prices: PriceTable,
    pub(crate) price: Option<Price>,
    pub(crate) tokenizer: Option<Arc<dyn Tokenizer>>,
    pub(crate) estimator: Estimator,
    pub(crate) retry: RetryPolicy,
}

/// A call of the past that a new client has to count, such as one from before a restart.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PastCall {
    /// The model whose limits it counts against.
    pub model: ModelId,
    /// When it was sent.
    pub sent_at: UnixMillis,
    /// When the server may have counted its tokens at the latest.
    pub over_at: UnixMillis,
    /// The tokens it used, or may have used.
    pub total_tokens: u64,
}

impl PastCall {
    /// A call by its model, times and tokens.
    pub fn new(model: impl Into<ModelId>, sent_at: UnixMillis) -> Self {
        Self { model: model.into(), sent_at, over_at: sent_at, total_tokens: 0 }
    }

    /// With the tokens it used, counted at the latest at `over_at`.
    #[must_use]
    pub const fn used(mut self, total_tokens: u64, over_at: UnixMillis) -> Self {
        self.total_tokens = total_tokens;
        self.over_at = over_at;
        self
    }
}

impl Client {
    /// Sets a client up.
    pub fn builder() -> ClientBuilder {
        ClientBuilder::default()
    }

    pub(crate) fn from_parts(parts: Parts) -> Self {
        let client = Self(Arc::new(Inner {
            base: parts.base,
            key: parts.key,
            transport: parts.transport,
            began: (parts.admission.now(), wall_now()),
            admission: parts.admission,
            limiter: parts.limiter,
            open_profile: parts.open_profile,
            learning: Mutex::new(Models::from_rules(parts.learned)),
            record: parts.record,
            retry: parts.retry,
            retry_budget: Mutex::new(RetryBudget::new()),
            estimator: Mutex::new(parts.estimator),
            discover: Mutex::new(Discover::new(parts.ceilings)),
            prices: Mutex::new(parts.prices),
            price: parts.price,
            tokenizer: parts.tokenizer,
            has_cap: parts.cap.is_some(),
            budgets: Mutex::new(Keeper::new(parts.budgets, parts.cap.as_ref())),
            told: Told::default(),
            stopped: Mutex::new(None),
            lines: Lines::default(),
            refusals: AtomicU64::new(0),
            own: rand::random_range(0..1 << 48),
            calls: AtomicU64::new(0),
        }));
        if let Some(cap) = parts.cap {
            client.0.admission.observe(&cap.observation());
        }
        client.look_at_budgets();
        if let Some(most) = parts.in_flight {
            let (key, dimension) = (LimitKey::All, Dimension::InFlight);
            let quota = Quota::once(most);
            client.0.admission.observe(&Observation::Stated { key, dimension, quota });
        }
        client
    }

    /// Sends a chat when its turn has come.
    ///
    /// # Errors
    /// [`Error`]; its [`kind`](Error::kind) says what was retried before.
    ///
    /// # Cancel safety
    /// Dropped before it was sent, everything it had reserved goes back; after that, what it
    /// reserved counts as spent, because the server may charge it.
    pub async fn chat(&self, chat: &Chat) -> Result<Reply, Error> {
        let call = Call::chat(self, chat)?;
        self.run::<Whole>(Arc::new(call)).await
    }

    /// Sends a chat when its turn has come, and shows the answer as it comes. Usage is asked for in the
    /// stream (`stream_options.include_usage`).
    ///
    /// Returns with the first output: what the server refuses before that is tried again by the
    /// [`RetryPolicy`], what breaks later is not.
    ///
    /// # Errors
    /// [`Error`]; its [`kind`](Error::kind) says what was retried before.
    ///
    /// # Cancel safety
    /// As [`Client::chat`], until an answer begins; then as [`ReplyStream`] says.
    pub async fn chat_stream(&self, chat: &Chat) -> Result<ReplyStream, Error> {
        let call = Call::chat(self, &chat.streaming())?;
        self.run::<Streamed>(Arc::new(call.streamed())).await
    }

    /// Sends a call to `/v1/responses` when its turn has come. Errors and cancel safety as
    /// [`Client::chat`].
    ///
    /// # Errors
    /// As [`Client::chat`].
    pub async fn respond(&self, ask: &Responses) -> Result<Reply, Error> {
        let call = Call::responses(self, ask)?;
        self.run::<Whole>(Arc::new(call)).await
    }

    /// The same, and shows the answer as it comes; see [`Client::chat_stream`].
    ///
    /// # Errors
    /// As [`Client::chat_stream`].
    pub async fn respond_stream(&self, ask: &Responses) -> Result<ReplyStream, Error> {
        let call = Call::responses(self, &ask.streaming())?;
        self.run::<Streamed>(Arc::new(call.streamed())).await
    }

    /// Sends a JSON call to any endpoint when its turn has come. Errors and cancel safety as
    /// [`Client::chat`].
    ///
    /// # Errors
    /// As [`Client::chat`].
    pub async fn json(&self, json: &JsonCall) -> Result<Reply, Error> {
        let call = Call::json(self, json)?;
        self.run::<Whole>(Arc::new(call)).await
    }

    /// Waits for the right to make a call with some other client; see [`Permit`].
    ///
    /// # Errors
    /// [`Error`] where it can't be admitted or recorded, or nothing is sent any more.
    ///
    /// # Cancel safety
    /// Dropping the future gives everything back.
    pub async fn acquire(&self, demand: &Demand) -> Result<Permit, Error> {
        let mut demand = demand.clone();
        if let Some(model) = demand.model_id() {
            let model = tiers::canonical(model);
            self.know(&model);
            demand = demand.model(model);
        }
        self.stopped()?;
        let receipt = self.admitted(&demand, || ()).await?;
        Permit::issue(self, demand, receipt).await
    }

    /// What a chat will probably use.
    pub fn estimate(&self, chat: &Chat) -> Estimate {
        lock(&self.0.estimator).estimate(&chat.shape(self.tokenizer()))
    }

    /// What a chat asks of the limits: the demand for [`Client::acquire`].
    ///
    /// # Errors
    /// [`ErrorKind::Settings`] where there is a spending cap or a hard budget of money, and the model
    /// has no price.
    pub fn demand(&self, chat: &Chat) -> Result<Demand, Error> {
        let shape = chat.shape(self.tokenizer());
        let terms = AskedTerms::of(chat.body(), &self.0.base);
        let (tag, caller) = (chat.tag_name(), chat.caller_name());
        self.demand_of(Asking { shape: &shape, tag, caller, terms: &terms })
    }

    /// The price of a model, if it is known.
    pub fn price(&self, model: &ModelId) -> Option<Price> {
        self.0.price.or_else(|| lock(&self.0.prices).price(model))
    }

    /// The state of every limit; `None` with an admission that is not ours.
    pub fn limits(&self) -> Option<Snapshot> {
        self.0.limiter.as_ref().map(SharedLimiter::snapshot)
    }

    /// Every limit of a model that somebody speaks of, and who does: the table, the server, the user.
    /// Aliases share those of the model that they stand for.
    pub fn known_limits(&self, model: &ModelId) -> Vec<KnownLimit> {
        let model = tiers::canonical(model);
        self.know(&model);
        lock(&self.0.discover).known(&model)
    }

    /// Where every budget stands now, in the order in which they were added: what is spent and left,
    /// by how much it was passed, and when it begins anew. One that only warns has been reached where
    /// nothing is left of it.
    pub fn budgets(&self) -> Vec<Standing> {
        lock(&self.0.budgets).standings(wall_now())
    }

    /// What is left of every limit and budget, for [`forecast`](paceline_budget::forecast). With an
    /// admission that is not ours, of the budgets alone.
    pub fn rooms(&self) -> Vec<Room> {
        let limits = self.limits().map(|limits| limits.limits).unwrap_or_default();
        lock(&self.0.budgets).rooms(&limits, wall_now())
    }

    /// How good the estimates of input tokens were so far.
    pub fn accuracy(&self) -> Accuracy {
        lock(&self.0.estimator).accuracy()
    }

    /// What the estimator has learned, to be saved for
    /// [`ClientBuilder::estimator_state`](crate::ClientBuilder::estimator_state) of a later client. How
    /// accurate it was is not in it.
    pub fn estimator_state(&self) -> EstimatorState {
        lock(&self.0.estimator).state()
    }

    /// What happens to calls and limits from now on. Nothing is made of it while nobody watches; of
    /// one who does not fetch them in time, the oldest beyond [`Events::MOST`] are lost and
    /// [counted](Events::missed). They hold no prompt, no answer and no key.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use paceline::{Chat, Client};
    /// # use paceline_transport::mock::MockTransport;
    /// # let transport = MockTransport::new().answer(200, r#"{
    /// #   "choices": [], "usage": {"prompt_tokens": 140, "completion_tokens": 4, "total_tokens": 144}}"#);
    /// # let client = Client::builder().base_url("http://127.0.0.1:1/v1").transport(transport).build()?;
    /// let mut events = client.events();
    /// client.chat(&Chat::new("grok-4.3").user("What is a spider?")).await?;
    /// drop(client);
    /// let mut told = Vec::new();
    /// while let Some(event) = events.next().await {
    ///     told.push(event.kind.name());
    /// }
    /// assert_eq!(told.last(), Some(&"settled"));
    /// # Ok(())
    /// # }
    /// ```
    pub fn events(&self) -> Events {
        self.0.told.events()
    }

    /// Admits nothing any more. What is in flight goes on to its end; what waits waits for ever,
    /// and may be dropped.
    pub fn close(&self) {
        self.0.admission.pause(&LimitKey::All, None, Instant::MAX);
    }

    /// Counts a call of the past in the limits of its model, and in no budget. Does nothing with an
    /// admission that is not ours.
    pub fn count_past(&self, past: &PastCall) {
        let Some(limiter) = &self.0.limiter else { return };
        let model = tiers::canonical(&past.model);
        self.know(&model);
        let (now, wall) = (limiter.now(), wall_now());
        let moment = |at: UnixMillis| {
            if at > wall { now + at.since(wall) } else { now - wall.since(at) }
        };
        let scoped = Demand::new().model(model);
        let one = scoped.clone().with(Dimension::Requests, Amount::exact(1));
        limiter.record_past(&one, moment(past.sent_at));
        let tokens = scoped.with(Dimension::TotalTokens, Amount::exact(past.total_tokens));
        limiter.record_past(&tokens, moment(past.over_at));
        self.counted_beside(&tokens);
    }

    /// Enters money as spent already, in the spending cap and in no budget. Does nothing with an
    /// admission that is not ours.
    pub fn count_spent(&self, spent: Money) {
        if let Some(limiter) = &self.0.limiter {
            let money = Demand::new().with(Dimension::Money, Amount::exact(spent.as_amount()));
            limiter.record_past(&money, limiter.now());
            self.counted_beside(&money);
        }
    }

    /// Enters in the budgets what others have spent of them meanwhile, such as other programs that share
    /// a ledger, and takes back what counted before; the limits follow at once. `taken_back` has to be
    /// what was entered here, or restored before. Answers how much of it was refused as absurd.
    ///
    /// Money that is spent elsewhere refuses calls as money that was spent here does, those that wait
    /// included.
    pub fn count_elsewhere(
        &self,
        spent: impl IntoIterator<Item = Spend>,
        taken_back: impl IntoIterator<Item = Spend>,
    ) -> usize {
        let refused = lock(&self.0.budgets).elsewhere(spent, taken_back);
        self.look_at_budgets();
        refused
    }

    /// Waits until the limits and the budgets admit a demand.
    pub(crate) async fn admitted(
        &self,
        demand: &Demand,
        queued: impl Fn(),
    ) -> Result<Receipt, Error> {
        loop {
            self.look_at_budgets();
            let turn = self.0.admission.acquire(demand);
            if !turn.is_ready() {
                queued();
            }
            let mut turn = pin!(turn);
            let refusal = loop {
                let answer = match self.next_look() {
                    None => turn.as_mut().await,
                    Some(wait) => match tokio::time::timeout(wait, turn.as_mut()).await {
                        Ok(answer) => answer,
                        Err(_) => {
                            self.look_at_budgets();
                            continue;
                        }
                    },
                };
                match answer {
                    Ok(receipt) => return Ok(receipt),
                    Err(refusal) => break refusal,
                }
            };
            // Where a period has begun meanwhile, there is room that the refusal did not know of.
            if !self.look_at_budgets() {
                return Err(self.refused_by(refusal, demand));
            }
        }
    }

    fn refused_by(&self, refusal: Refusal, demand: &Demand) -> Error {
        match lock(&self.0.budgets).behind(&refusal, demand, wall_now()) {
            Some(standing) => {
                let asked = demand.amount(standing.budget.dimension());
                Error::budget(&standing, asked.map_or(0, Amount::upper_amount))
            }
            None => Error::refused(refusal),
        }
    }

    /// A call is over: tells the budgets, and the admission.
    pub(crate) fn settle(&self, receipt: Receipt, demand: &Demand, actual: &Actual) {
        let actual = lock(&self.0.budgets).settle(demand, actual, wall_now());
        self.0.admission.settle(receipt, &actual);
    }

    /// Tells the admission what the budgets say now; whether that was anything.
    fn look_at_budgets(&self) -> bool {
        let mut budgets = lock(&self.0.budgets);
        let changes = budgets.changes(wall_now());
        // Told while it is locked, so that nothing older is told after it.
        self.tell(&changes);
        !changes.is_empty()
    }

    /// How long one may wait before the budgets have to be looked at again.
    fn next_look(&self) -> Option<Duration> {
        let now = wall_now();
        let next = lock(&self.0.budgets).next_change(now)?;
        Some(next.since(now).clamp(Duration::from_millis(1), LOOK_AGAIN))
    }

    fn counted_beside(&self, past: &Demand) {
        let mut budgets = lock(&self.0.budgets);
        let changes = budgets.counted_beside(past);
        self.tell(&changes);
    }

    pub(crate) fn needs_price(&self, demand: &Demand) -> bool {
        self.0.has_cap || lock(&self.0.budgets).needs_price(demand, wall_now())
    }

    /// Sees to it that a model's limits are in force.
    pub(crate) fn know(&self, model: &ModelId) {
        let changes = lock(&self.0.discover).first_call(model);
        self.tell(&changes);
    }

    /// Takes in what was learned of limits; whether that changed any.
    pub(crate) fn learn_limits(
        &self,
        learn: impl FnOnce(&mut Discover) -> Vec<Observation>,
    ) -> bool {
        let changes = learn(&mut lock(&self.0.discover));
        self.tell(&changes);
        !changes.is_empty()
    }

    fn tell(&self, changes: &[Observation]) {
        for change in changes {
            tracing::debug!(?change, "limit in force");
            self.0.told.tell(None, || EventKind::LimitChanged(change.clone()));
            self.0.admission.observe(change);
        }
    }

    /// What counts texts beside the classes, where there is one.
    pub(crate) fn tokenizer(&self) -> Option<&dyn Tokenizer> {
        self.0.tokenizer.as_deref()
    }

    pub(crate) fn name(&self, given: Option<&str>) -> String {
        given.map_or_else(
            || {
                let number = self.0.calls.fetch_add(1, Ordering::Relaxed) + 1;
                format!("call-{:012x}-{number}", self.0.own)
            },
            str::to_owned,
        )
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("host", &self.0.base.host()).finish_non_exhaustive()
    }
}

/// Who waits looks at the budgets so often at least: the wall clock may be set meanwhile.
const LOOK_AGAIN: Duration = Duration::from_secs(60);

/// Locks what no panic leaves in a wrong state.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Wall time, for records.
pub(crate) fn wall_now() -> UnixMillis {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let millis = since.unwrap_or(Duration::ZERO).as_millis();
    UnixMillis::new(i64::try_from(millis).unwrap_or(i64::MAX))
}
