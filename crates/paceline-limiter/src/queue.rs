//! Those who wait, in the order in which they are served: class, then caller, then arrival.
//!
//! It knows no limits: it says whose turn it is, never whether that one fits. Granting is taking
//! the waiter out, and nothing else does, so however large the demand of the first is, no other
//! is first in its place until it is served or leaves; only a class that ages, and a correction
//! of fair shares, can change who is first, each boundedly often.
//!
//! Invariants: tickets ascend, so the order of tickets is the order of arrival; every waiter is
//! in the line of its class, and in `deadlines` where it has one.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use paceline_core::{Actual, Class, Demand, Dimension, Instant, Refusal};

use self::line::{Key, Line, units};

mod line;
mod policy;

pub use policy::{FairShare, Overtaking, QueuePolicy, QueuePolicyError};

/// The place of one waiter in the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(u64);

/// Waiters, whose turn it is, and their deadlines. Every operation takes O(log n) steps.
#[derive(Clone, Debug, Default)]
pub(crate) struct Queue {
    policy: QueuePolicy,
    next: u64,
    waiting: BTreeMap<Ticket, Demand>,
    deadlines: BTreeSet<(Instant, Ticket)>,
    /// By [`rank`]: the most urgent class first.
    lines: [Line; CLASSES],
    /// When each class was last served or began to wait; of no meaning where nobody waits.
    unserved_since: [Instant; CLASSES],
}

/// What one admitted call was charged in fair shares, to be corrected when it is settled.
///
/// To be handed back once, to [`Queue::settle`] or [`Queue::cancel`]. Dropping it leaves the call
/// charged at what was expected.
#[derive(Clone, Debug)]
#[must_use]
pub(crate) struct Share(Option<Charged>);

#[derive(Clone, Debug)]
struct Charged {
    rank: usize,
    key: Key,
    coming: u64,
    dimension: Dimension,
    expected: u64,
}

impl Queue {
    /// An empty queue.
    ///
    /// # Errors
    /// [`QueuePolicyError`] where the policy can't be kept.
    pub(crate) fn new(policy: QueuePolicy) -> Result<Self, QueuePolicyError> {
        policy.check()?;
        Ok(Self { policy, ..Self::default() })
    }

    /// An empty queue that gives no ticket which this one has given.
    ///
    /// # Errors
    /// [`QueuePolicyError`] where the policy can't be kept.
    pub(crate) fn afresh(&self, policy: QueuePolicy) -> Result<Self, QueuePolicyError> {
        Ok(Self { next: self.next, ..Self::new(policy)? })
    }

    /// Takes a place behind those before it.
    ///
    /// # Errors
    /// [`Refusal::QueueFull`].
    pub(crate) fn push(&mut self, demand: Demand, now: Instant) -> Result<Ticket, Refusal> {
        if self.is_full() {
            return Err(Refusal::QueueFull { waiting: self.len() });
        }
        let ticket = Ticket(self.next);
        self.next += 1;
        if let Some(deadline) = demand.latest_admission() {
            self.deadlines.insert((deadline, ticket));
        }
        let (rank, key) = self.place(&demand);
        if self.lines[rank].is_empty() {
            self.unserved_since[rank] = now;
        }
        self.lines[rank].push(key, ticket);
        self.waiting.insert(ticket, demand);
        Ok(ticket)
    }

    /// Leaves without having been served: cancelled, late or refused. `None` where it does not
    /// wait.
    pub(crate) fn remove(&mut self, ticket: Ticket) -> Option<Demand> {
        let demand = self.take(ticket)?;
        let (rank, key) = self.place(&demand);
        self.lines[rank].leave(key, ticket);
        Some(demand)
    }

    /// Is served: leaves, and is charged to its caller. `None` where it does not wait.
    ///
    /// The clock of its class begins anew where it was the first of it; what overtakes the first
    /// takes nothing from the time that the first has gone without.
    pub(crate) fn grant(&mut self, ticket: Ticket, now: Instant) -> Option<(Demand, Share)> {
        let demand = self.take(ticket)?;
        let (rank, key) = self.place(&demand);
        if self.lines[rank].first() == Some(ticket) {
            self.unserved_since[rank] = now;
        }
        let charge = self.charge(&demand);
        let coming = self.lines[rank].serve(key.clone(), ticket, charge);
        let share = self.share(&demand, rank, key, coming);
        Some((demand, share))
    }

    /// Charges a call that was admitted without waiting.
    pub(crate) fn grant_unqueued(&mut self, demand: &Demand) -> Share {
        if self.policy.fair_share().is_none() {
            return Share(None);
        }
        let (rank, key) = self.place(demand);
        let charge = self.charge(demand);
        let coming = self.lines[rank].serve_unqueued(key.clone(), charge);
        self.share(demand, rank, key, coming)
    }

    /// The call used so much; what `actual` does not name stays as it was expected.
    pub(crate) fn settle(&mut self, share: Share, actual: &Actual) {
        let Share(Some(charged)) = share else { return };
        if let Some(used) = actual.amount(charged.dimension) {
            self.correct(charged, used.max(LEAST_SERVICE));
        }
    }

    /// The call never left, so it was no service.
    pub(crate) fn cancel(&mut self, share: Share) {
        let Share(Some(charged)) = share else { return };
        self.correct(charged, 0);
    }

    /// Whose turn it is.
    pub(crate) fn head(&self, now: Instant) -> Option<(Ticket, &Demand)> {
        let rank = self.next_class(&self.occupied(), now)?;
        self.waiter(self.lines[rank].first()?)
    }

    /// The head, and where the policy lets others overtake it those after it, in the order in
    /// which they would be served if each were admitted now; at most
    /// [`QueuePolicy::LOOK_AHEAD`]. Whoever admits one must leave the head's own time where it
    /// is.
    pub(crate) fn candidates(&self, now: Instant) -> Vec<(Ticket, &Demand)> {
        if self.policy.overtakes() == Overtaking::Never {
            return self.head(now).into_iter().collect();
        }
        let charge = |ticket| self.waiter(ticket).map_or(0, |(_, demand)| self.charge(demand));
        let mut since = self.occupied();
        let mut upcoming = [const { Vec::new() }; CLASSES];
        for (line, upcoming) in self.lines.iter().zip(&mut upcoming) {
            *upcoming = line.upcoming(QueuePolicy::LOOK_AHEAD, charge);
            upcoming.reverse();
        }
        let mut candidates = Vec::new();
        while candidates.len() < QueuePolicy::LOOK_AHEAD {
            let Some(rank) = self.next_class(&since, now) else { break };
            candidates.extend(upcoming[rank].pop().and_then(|ticket| self.waiter(ticket)));
            since[rank] = (!upcoming[rank].is_empty()).then_some(now);
        }
        candidates
    }

    /// Those who are certain to be admitted or to leave before `demand` would be, if it took a
    /// place now: the first of its class, at most [`QueuePolicy::LOOK_AHEAD`]. Nobody is certain
    /// to where shares are fair or others may overtake.
    pub(crate) fn in_front(&self, demand: &Demand) -> Vec<&Demand> {
        if self.is_empty() || self.is_fair() || self.overtakes() {
            return Vec::new();
        }
        let (rank, _) = self.place(demand);
        let first = self.lines[rank].upcoming(QueuePolicy::LOOK_AHEAD, |_| 0);
        first.into_iter().filter_map(|ticket| self.demand(ticket)).collect()
    }

    /// The next moment at which time alone changes whose turn it is, by ageing.
    pub(crate) fn next_change(&self, now: Instant) -> Option<Instant> {
        let since = self.occupied();
        if since.iter().flatten().count() < 2 {
            return None;
        }
        let head = self.next_class(&since, now)?;
        let step = self.policy.ageing_step();
        let gains = |(rank, since): (usize, Option<Instant>)| {
            let gain = move |steps| since.map(|since| since + step.saturating_mul(steps));
            (1..).take(rank).filter_map(gain)
        };
        let moments = since.into_iter().enumerate().flat_map(gains);
        moments.filter(|at| *at > now).filter(|at| self.next_class(&since, *at) != Some(head)).min()
    }

    /// What one waiter asks for.
    pub(crate) fn demand(&self, ticket: Ticket) -> Option<&Demand> {
        self.waiting.get(&ticket)
    }

    /// Whether others may overtake the first.
    pub(crate) fn overtakes(&self) -> bool {
        self.policy.overtakes() != Overtaking::Never
    }

    /// Whether callers have fair shares.
    pub(crate) fn is_fair(&self) -> bool {
        self.policy.fair_share().is_some()
    }

    /// A waiter whose deadline has passed, the earliest first.
    pub(crate) fn expired(&self, now: Instant) -> Option<Ticket> {
        self.deadlines.first().filter(|(deadline, _)| *deadline < now).map(|(_, ticket)| *ticket)
    }

    /// The next moment at which a deadline has passed.
    pub(crate) fn next_expiry(&self) -> Option<Instant> {
        let just_after = Duration::from_nanos(1);
        self.deadlines.first().map(|(deadline, _)| *deadline + just_after)
    }

    pub(crate) fn len(&self) -> usize {
        self.waiting.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Whether nobody more may wait.
    pub(crate) fn is_full(&self) -> bool {
        self.len() >= self.policy.bound()
    }

    /// The classes that wait, and since when each was not served.
    fn occupied(&self) -> [Option<Instant>; CLASSES] {
        let mut since = self.unserved_since.map(Some);
        for (since, line) in since.iter_mut().zip(&self.lines) {
            *since = since.filter(|_| !line.is_empty());
        }
        since
    }

    /// The class whose turn it is: the most urgent one, each raised by one for every step of
    /// ageing; among equals the one that went without for longest.
    fn next_class(&self, since: &[Option<Instant>; CLASSES], now: Instant) -> Option<usize> {
        let mut occupied = (0..since.len()).filter(|rank| since[*rank].is_some());
        let first = occupied.next()?;
        if occupied.next().is_none() {
            return Some(first);
        }
        let step = self.policy.ageing_step().as_nanos().max(1);
        let urgency = |(rank, since): (usize, &Option<Instant>)| {
            let since = (*since)?;
            let steps = usize::try_from(now.since(since).as_nanos() / step).unwrap_or(usize::MAX);
            Some((rank.saturating_sub(steps), since, rank))
        };
        since.iter().enumerate().filter_map(urgency).min().map(|(.., rank)| rank)
    }

    fn waiter(&self, ticket: Ticket) -> Option<(Ticket, &Demand)> {
        self.waiting.get(&ticket).map(|demand| (ticket, demand))
    }

    fn take(&mut self, ticket: Ticket) -> Option<Demand> {
        let demand = self.waiting.remove(&ticket)?;
        if let Some(deadline) = demand.latest_admission() {
            self.deadlines.remove(&(deadline, ticket));
        }
        Some(demand)
    }

    /// In which line a demand waits, and whose counter it is charged to.
    fn place(&self, demand: &Demand) -> (usize, Key) {
        let is_fair = self.policy.fair_share().is_some();
        (rank(demand.urgency()), demand.caller_name().filter(|_| is_fair).cloned())
    }

    fn charge(&self, demand: &Demand) -> line::Units {
        let Some(fair) = self.policy.fair_share() else { return 0 };
        units(service(fair, demand).1, fair.weight_of(demand.caller_name()))
    }

    fn share(&self, demand: &Demand, rank: usize, key: Key, coming: u64) -> Share {
        Share(self.policy.fair_share().map(|fair| {
            let (dimension, expected) = service(fair, demand);
            Charged { rank, key, coming, dimension, expected }
        }))
    }

    fn correct(&mut self, charged: Charged, actual: u64) {
        let Some(fair) = self.policy.fair_share() else { return };
        let weight = fair.weight_of(charged.key.as_ref());
        let (from, to) = (units(charged.expected, weight), units(actual, weight));
        self.lines[charged.rank].correct(charged.key, charged.coming, from, to);
    }
}

impl Ticket {
    const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

/// Where a class stands, the most urgent at 0. One that is not known yet is as urgent as the last.
const fn rank(class: Class) -> usize {
    match class {
        Class::Interactive => 0,
        Class::Standard => 1,
        _ => CLASSES - 1,
    }
}

/// What a demand is expected to use of what is shared.
fn service(fair: &FairShare, demand: &Demand) -> (Dimension, u64) {
    let default = match demand.amount(Dimension::TotalTokens) {
        Some(_) => Dimension::TotalTokens,
        None => Dimension::Requests,
    };
    let dimension = fair.dimension().unwrap_or(default);
    let expected = demand.amount(dimension).map_or(0, |amount| amount.expected_amount());
    (dimension, expected.max(LEAST_SERVICE))
}

/// How many classes there are.
const CLASSES: usize = 3;

/// What a call counts as at least in fair shares. Calls that counted as nothing would always come
/// first.
const LEAST_SERVICE: u64 = 1;

#[cfg(test)]
mod tests;
