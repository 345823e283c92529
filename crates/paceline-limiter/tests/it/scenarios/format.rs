//! A scenario as it is written: limits, then timed steps, each with what is expected of it.
//!
//! It runs nothing. Invariant: a field that is unknown, or that its step does not look at, is an
//! error, so nothing that is written down is ever skipped.

use std::collections::BTreeMap;

use paceline_core::{Amount, Completion, Demand, Instant};
use paceline_limiter::Limit;
use serde::Deserialize;
use std::time::Duration;

use super::words::{Amounts, Charged, Counted, Key, Spacing, Span};

/// One file.
#[derive(Clone, Debug)]
pub(crate) struct Scenario {
    /// What holds, as a sentence.
    pub(crate) name: String,
    pub(crate) limits: Vec<Limit>,
    pub(crate) max_waiting: Option<usize>,
    /// Forms that can't run it, each with the reason.
    pub(crate) except: BTreeMap<String, String>,
    pub(crate) steps: Vec<Step>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    name: String,
    about: String,
    source: String,
    max_waiting: Option<usize>,
    #[serde(default)]
    except: BTreeMap<String, String>,
    limit: Vec<WrittenLimit>,
    step: Vec<toml::Table>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenLimit {
    key: Option<Key>,
    dimension: Counted,
    quota: Amounts,
    rule: Option<Charged>,
    pacing: Option<Spacing>,
    delay: Option<Span>,
}

/// What a step does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Action {
    /// Ask now, do not wait.
    Acquire,
    /// Ask now; where admitted: sent, head received and settled as reserved, all at once.
    Call,
    /// Ask and wait.
    Enqueue,
    Sent,
    Head,
    Settle,
    Cancel,
    /// A waiter goes away.
    Leave,
    SetLimit,
    Pause,
    Observe,
    RecordPast,
    /// Only time passes.
    Look,
    /// Time jumps here at once; nobody was served on the way.
    Leap,
}

/// How an ask ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Outcome {
    Admitted,
    Waits,
    Never,
    Exhausted,
    Deadline,
    QueueFull,
}

/// What an `observe` step has learned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Learned {
    Stated,
    Unlimited,
    Remaining,
    Refused,
}

/// When a refusal says to ask again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub(crate) enum Until {
    /// Within this range, both ends included.
    Range(Range),
    /// `"unknown"`: time alone does not help.
    Unknown(Unknown),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Unknown {
    Unknown,
}

/// From and to, both included, in time since the scenario's start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub(crate) struct Range(pub(crate) Span, pub(crate) Span);

/// What one call asks of one dimension.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(untagged)]
pub(crate) enum Asked {
    Exact(u64),
    Uncertain { expected: u64, upper: u64 },
}

/// One limit of a snapshot.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Counts {
    pub(crate) dimension: Counted,
    /// Tells limits of one dimension apart.
    pub(crate) quota: Option<Amounts>,
    pub(crate) used: Option<u64>,
    pub(crate) held: Option<u64>,
    pub(crate) free: Option<u64>,
}

/// One line of a scenario.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Step {
    pub(crate) at: Span,
    #[serde(rename = "do")]
    pub(crate) action: Action,
    pub(crate) call: Option<String>,
    pub(crate) times: Option<u32>,
    #[serde(default)]
    ask: BTreeMap<Counted, Asked>,
    model: Option<String>,
    tag: Option<String>,
    caller: Option<String>,
    deadline: Option<Span>,
    completes: Option<Span>,
    #[serde(default)]
    pub(crate) used: BTreeMap<Counted, u64>,
    pub(crate) key: Option<Key>,
    pub(crate) dimension: Option<Counted>,
    pub(crate) quota: Option<Amounts>,
    pub(crate) resume_at: Option<Span>,
    pub(crate) what: Option<Learned>,
    pub(crate) remaining: Option<u64>,
    pub(crate) actual: Option<u64>,
    pub(crate) limit: Option<u64>,
    pub(crate) past: Option<Span>,

    // What is expected.
    pub(crate) expect: Option<Outcome>,
    pub(crate) until: Option<Until>,
    pub(crate) within: Option<Range>,
    pub(crate) by: Option<Counted>,
    pub(crate) admitted: Option<u32>,
    pub(crate) granted: Option<Vec<String>>,
    pub(crate) waiting: Option<usize>,
    pub(crate) in_flight: Option<usize>,
    #[serde(default)]
    pub(crate) limits: Vec<Counts>,
}

/// What every step may have.
const ANY_STEP: &[&str] = &["at", "do", "granted", "waiting", "in_flight", "limits"];
/// What describes a demand.
const DEMAND: &[&str] = &["ask", "model", "tag", "caller", "completes"];

impl Action {
    /// The fields that a step of this kind looks at, those that it needs first.
    const fn fields(self) -> (&'static [&'static str], &'static [&'static str]) {
        match self {
            Self::Acquire | Self::Call => (&["ask"], &["call", "times", "until", "by", "admitted"]),
            Self::Enqueue => (&["call", "ask", "expect"], &["deadline", "within"]),
            Self::Sent | Self::Head | Self::Cancel | Self::Leave => (&["call"], &[]),
            Self::Settle => (&["call"], &["used"]),
            Self::SetLimit => (&["key", "dimension", "quota"], &[]),
            Self::Pause => (&["key", "resume_at"], &["dimension"]),
            Self::Observe => {
                (&["what", "key"], &["dimension", "quota", "remaining", "actual", "limit"])
            }
            Self::RecordPast => (&["ask", "past"], &[]),
            Self::Look | Self::Leap => (&[], &[]),
        }
    }

    const fn has_demand(self) -> bool {
        matches!(self, Self::Acquire | Self::Call | Self::Enqueue | Self::RecordPast)
    }
}

impl Scenario {
    /// Reads one file.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let written: Written = toml::from_str(text).map_err(|why| why.to_string())?;
        for (field, text) in
            [("name", &written.name), ("about", &written.about), ("source", &written.source)]
        {
            if text.trim().is_empty() {
                return Err(format!("{field} is empty"));
            }
        }
        if let Some((form, _)) = written.except.iter().find(|(_, why)| why.trim().is_empty()) {
            return Err(format!("except.{form} gives no reason"));
        }
        let mut steps = Vec::new();
        for (number, table) in written.step.into_iter().enumerate() {
            let step = Step::parse(table).map_err(|why| format!("step {}: {why}", number + 1))?;
            steps.push(step);
        }
        if !steps.iter().any(Step::expects_something) {
            return Err("nothing is expected".to_owned());
        }
        Ok(Self {
            name: written.name,
            limits: written.limit.into_iter().map(WrittenLimit::build).collect(),
            max_waiting: written.max_waiting,
            except: written.except,
            steps,
        })
    }

    /// Whether somebody waits in it.
    pub(crate) fn has_waiters(&self) -> bool {
        self.steps.iter().any(|step| step.action == Action::Enqueue)
    }
}

impl WrittenLimit {
    fn build(self) -> Limit {
        let key = self.key.map_or(paceline_core::LimitKey::All, |key| key.0);
        let mut limit = Limit::new(key, self.dimension.0, self.quota.0);
        if let Some(rule) = self.rule {
            limit = limit.charged(rule.0);
        }
        if let Some(pacing) = self.pacing {
            limit = limit.paced(pacing.0);
        }
        if let Some(delay) = self.delay {
            limit = limit.delay(delay.0);
        }
        limit
    }
}

impl Step {
    fn parse(table: toml::Table) -> Result<Self, String> {
        let step: Self = table.clone().try_into().map_err(|why| why.to_string())?;
        let (needed, more) = step.action.fields();
        if let Some(missing) = needed.iter().find(|field| !table.contains_key(**field)) {
            return Err(format!("{:?} needs `{missing}`", step.action));
        }
        let is_known = |field: &str| {
            let demand = step.action.has_demand() && DEMAND.contains(&field);
            let asks = matches!(step.action, Action::Acquire | Action::Call);
            demand
                || [ANY_STEP, needed, more].iter().any(|list| list.contains(&field))
                || (asks && field == "expect")
        };
        if let Some(unknown) = table.keys().find(|field| !is_known(field)) {
            return Err(format!("{:?} does not look at `{unknown}`", step.action));
        }
        step.check()?;
        Ok(step)
    }

    /// What the fields say together.
    fn check(&self) -> Result<(), String> {
        let asks = matches!(self.action, Action::Acquire | Action::Call);
        if asks && self.times.is_some() != self.admitted.is_some() {
            return Err("`times` goes with `admitted`".to_owned());
        }
        if asks && self.times.is_some() == self.expect.is_some() {
            return Err("one of `expect` and `times`".to_owned());
        }
        if self.times.is_some() && (self.call.is_some() || self.until.is_some()) {
            return Err("several calls have neither a name nor one `until`".to_owned());
        }
        if self.expect != Some(Outcome::Waits) && (self.until.is_some() || self.by.is_some()) {
            return Err("`until` and `by` go with expect = \"waits\"".to_owned());
        }
        if self.within.is_some() && self.expect == Some(Outcome::Waits) {
            return Err("`within` is for an answer; \"waits\" is none".to_owned());
        }
        let ranges = [self.within, self.until.and_then(Until::range)];
        if ranges.into_iter().flatten().any(|Range(from, to)| from > to) {
            return Err("a range ends before it begins".to_owned());
        }
        Ok(())
    }

    pub(crate) fn expects_something(&self) -> bool {
        self.expect.is_some()
            || self.admitted.is_some()
            || self.granted.is_some()
            || self.expects_a_look()
    }

    /// Whether it takes a snapshot to check it.
    pub(crate) fn expects_a_look(&self) -> bool {
        self.waiting.is_some() || self.in_flight.is_some() || !self.limits.is_empty()
    }

    /// What it asks for, where the scenario began at `base`.
    pub(crate) fn demand(&self, base: Instant) -> Demand {
        let mut demand = Demand::new();
        for (counted, asked) in &self.ask {
            let amount = match asked {
                Asked::Exact(amount) => Amount::exact(*amount),
                Asked::Uncertain { expected, upper } => Amount::expected(*expected).upper(*upper),
            };
            demand = demand.with(counted.0, amount);
        }
        if let Some(latest) = self.completes {
            demand = demand.completes(Completion::between(Duration::ZERO, latest.0));
        }
        if let Some(model) = &self.model {
            demand = demand.model(model.as_str());
        }
        if let Some(tag) = &self.tag {
            demand = demand.tag(tag.as_str());
        }
        if let Some(caller) = &self.caller {
            demand = demand.caller(caller.as_str());
        }
        match self.deadline {
            Some(deadline) => demand.deadline(base + deadline.0),
            None => demand,
        }
    }
}

impl Until {
    pub(crate) const fn range(self) -> Option<Range> {
        match self {
            Self::Range(range) => Some(range),
            Self::Unknown(_) => None,
        }
    }
}
