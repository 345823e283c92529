//! The queue against a naive one: a list that is searched from end to end at every question.
//!
//! It shares nothing with the queue but the rules. Times are whole seconds.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

const CALLERS: [&str; 4] = ["a", "b", "c", "d"];
const WEIGHTS: [u32; 4] = [1, 1, 3, 7];

#[derive(Clone, Debug)]
enum Step {
    Push { class: usize, caller: usize, tokens: u64, deadline: Option<u64> },
    Pass(u64),
    GrantHead,
    GrantCandidate(usize),
    Leave(usize),
    Unqueued { class: usize, caller: usize, tokens: u64 },
    Settle { nth: usize, tokens: Option<u64> },
}

#[derive(Clone, Copy, Debug)]
struct Waiter {
    number: u64,
    class: usize,
    caller: usize,
    tokens: u64,
    deadline: Option<u64>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Account {
    counter: u128,
    coming: u64,
    returnable: u128,
}

/// A call that was admitted: class, caller, coming, tokens.
type Granted = (usize, usize, u64, u64);

#[derive(Debug)]
struct Naive {
    step: u64,
    is_fair: bool,
    next: u64,
    waiting: Vec<Waiter>,
    since: [u64; 3],
    floor: [u128; 3],
    comings: u64,
    accounts: BTreeMap<(usize, usize), Account>,
}

impl Naive {
    fn charge(&self, caller: usize, tokens: u64) -> u128 {
        let weight = u128::from(WEIGHTS[caller]);
        if self.is_fair { (u128::from(tokens) << 32).div_ceil(weight) } else { 0 }
    }

    fn account(&mut self, class: usize, caller: usize) -> &mut Account {
        let new = Account { counter: self.floor[class], ..Account::default() };
        self.accounts.entry((class, caller)).or_insert(new)
    }

    fn is_waiting(&self, class: usize, caller: usize) -> bool {
        self.waiting.iter().any(|w| w.class == class && (w.caller == caller || !self.is_fair))
    }

    fn come(&mut self, class: usize, caller: usize) {
        self.comings += 1;
        let (floor, coming, waits) =
            (self.floor[class], self.comings, self.is_waiting(class, caller));
        let account = self.account(class, caller);
        if !waits {
            account.returnable = account.counter.saturating_sub(floor);
            account.counter = account.counter.max(floor);
            account.coming = coming;
        }
    }

    fn raise_floor(&mut self) {
        for class in 0..3 {
            let waiting = self.waiting.iter().filter(|w| w.class == class);
            let least = waiting.filter_map(|w| self.accounts.get(&(class, w.caller)));
            if let Some(least) = least.map(|account| account.counter).min() {
                self.floor[class] = self.floor[class].max(least);
            }
        }
    }

    fn push(&mut self, waiter: Waiter, now: u64) {
        if !self.waiting.iter().any(|w| w.class == waiter.class) {
            self.since[waiter.class] = now;
        }
        self.come(waiter.class, waiter.caller);
        self.waiting.push(waiter);
        self.next += 1;
        self.raise_floor();
    }

    fn leave(&mut self, number: u64) -> Waiter {
        let index = self.waiting.iter().position(|w| w.number == number).unwrap();
        let gone = self.waiting.remove(index);
        self.raise_floor();
        gone
    }

    fn grant(&mut self, number: u64, now: u64) -> Granted {
        let waiter = *self.waiting.iter().find(|w| w.number == number).unwrap();
        let first = first_of(self, waiter.class, &self.waiting, &self.counters());
        if first.map(|w| w.number) == Some(number) {
            self.since[waiter.class] = now;
        }
        let charge = self.charge(waiter.caller, waiter.tokens);
        let account = self.account(waiter.class, waiter.caller);
        account.counter += charge;
        let coming = account.coming;
        self.leave(number);
        (waiter.class, waiter.caller, coming, waiter.tokens)
    }

    fn unqueued(&mut self, class: usize, caller: usize, tokens: u64) -> Granted {
        self.come(class, caller);
        let charge = self.charge(caller, tokens);
        let account = self.account(class, caller);
        let (began, coming) = (account.counter, account.coming);
        account.counter += charge;
        self.raise_floor();
        if !self.waiting.iter().any(|w| w.class == class) {
            self.floor[class] = self.floor[class].max(began);
        }
        (class, caller, coming, tokens)
    }

    fn settle(&mut self, (class, caller, coming, tokens): Granted, actual: u64) {
        let (from, to) = (self.charge(caller, tokens), self.charge(caller, actual));
        let account = self.account(class, caller);
        if to >= from {
            account.counter += to - from;
        } else if coming == account.coming {
            account.counter -= from - to;
        } else {
            let given = (from - to).min(account.returnable);
            account.returnable -= given;
            account.counter -= given;
        }
        self.raise_floor();
    }

    fn counters(&self) -> BTreeMap<(usize, usize), u128> {
        self.accounts.iter().map(|(key, account)| (*key, account.counter)).collect()
    }

    fn class(&self, since: &[u64; 3], waiting: &[Waiter], now: u64) -> Option<usize> {
        let level =
            |class: usize| class as u64 - ((now - since[class]) / self.step).min(class as u64);
        let classes = (0..3).filter(|class| waiting.iter().any(|w| w.class == *class));
        classes.min_by_key(|class| (level(*class), since[*class], *class))
    }

    fn head(&self, now: u64) -> Option<Waiter> {
        let class = self.class(&self.since, &self.waiting, now)?;
        first_of(self, class, &self.waiting, &self.counters())
    }

    /// Serves everyone in a copy, one after the other.
    fn candidates(&self, now: u64) -> Vec<u64> {
        let (mut waiting, mut counters, mut since) =
            (self.waiting.clone(), self.counters(), self.since);
        let mut order = Vec::new();
        while let Some(class) = self.class(&since, &waiting, now) {
            let first = first_of(self, class, &waiting, &counters).unwrap();
            waiting.retain(|w| w.number != first.number);
            let charge = self.charge(first.caller, first.tokens);
            *counters.get_mut(&(class, first.caller)).unwrap() += charge;
            since[class] = now;
            order.push(first.number);
        }
        order.truncate(QueuePolicy::LOOK_AHEAD);
        order
    }

    fn next_change(&self, now: u64) -> Option<u64> {
        let class = |at| self.class(&self.since, &self.waiting, at);
        (now + 1..now + 3 * self.step).find(|at| class(*at) != class(now))
    }
}

/// Whose turn it is within a class.
fn first_of(
    naive: &Naive,
    class: usize,
    waiting: &[Waiter],
    counters: &BTreeMap<(usize, usize), u128>,
) -> Option<Waiter> {
    let in_class = || waiting.iter().filter(|w| w.class == class);
    if !naive.is_fair {
        return in_class().min_by_key(|w| w.number).copied();
    }
    let firsts = (0..CALLERS.len()).filter_map(|caller| {
        let first = in_class().filter(|w| w.caller == caller).min_by_key(|w| w.number)?;
        Some((counters.get(&(class, caller)).copied().unwrap_or(0), *first))
    });
    firsts.min_by_key(|(counter, first)| (*counter, first.number)).map(|(_, first)| first)
}

fn step() -> impl Strategy<Value = Step> {
    let (class, caller, tokens) = (0..3_usize, 0..4_usize, 1..1_000_u64);
    let deadline = proptest::option::of(0..60_u64);
    let push = (class.clone(), caller.clone(), tokens.clone(), deadline).prop_map(
        |(class, caller, tokens, deadline)| Step::Push { class, caller, tokens, deadline },
    );
    let unqueued = (class, caller, tokens.clone())
        .prop_map(|(class, caller, tokens)| Step::Unqueued { class, caller, tokens });
    let settle = (any::<usize>(), proptest::option::of(tokens))
        .prop_map(|(nth, tokens)| Step::Settle { nth, tokens });
    prop_oneof![
        6 => push,
        1 => (0..15_u64).prop_map(Step::Pass),
        3 => Just(Step::GrantHead),
        1 => any::<usize>().prop_map(Step::GrantCandidate),
        1 => any::<usize>().prop_map(Step::Leave),
        1 => unqueued,
        2 => settle,
    ]
}

struct Both {
    queue: Queue,
    naive: Naive,
    granted: Vec<(Share, Granted)>,
    now: u64,
}

impl Both {
    fn new(step: u64, is_fair: bool) -> Self {
        let mut policy = QueuePolicy::new()
            .ageing(Duration::from_secs(step))
            .overtaking(Overtaking::IfHeadKeepsItsTime);
        if is_fair {
            let weigh = |share: FairShare, n: usize| share.weight(CALLERS[n], weight(WEIGHTS[n]));
            policy = policy.fair((0..CALLERS.len()).fold(FairShare::by_caller(), weigh));
        }
        let naive = Naive {
            step,
            is_fair,
            next: 0,
            waiting: Vec::new(),
            since: [0; 3],
            floor: [0; 3],
            comings: 0,
            accounts: BTreeMap::new(),
        };
        Self { queue: queue(policy), naive, granted: Vec::new(), now: 0 }
    }

    fn take(&mut self, step: &Step) {
        let classes = [Interactive, Standard, Batch];
        let now = at(self.now);
        match *step {
            Step::Push { class, caller, tokens, deadline } => {
                let deadline = deadline.map(|after| self.now + after);
                let mut demand = call(classes[class], CALLERS[caller], tokens);
                if let Some(deadline) = deadline {
                    demand = demand.deadline(at(deadline));
                }
                let ticket = self.queue.push(demand, now).unwrap();
                assert_eq!(ticket, Ticket(self.naive.next));
                let number = self.naive.next;
                self.naive.push(Waiter { number, class, caller, tokens, deadline }, self.now);
            }
            Step::Pass(seconds) => self.now += seconds,
            Step::GrantHead => {
                let head = self.queue.head(now).map(|(ticket, _)| ticket);
                self.grant(head);
            }
            Step::GrantCandidate(nth) => {
                let candidates = self.queue.candidates(now);
                let chosen = nth.checked_rem(candidates.len()).map(|nth| candidates[nth].0);
                self.grant(chosen);
            }
            Step::Leave(nth) => {
                let Some(nth) = nth.checked_rem(self.naive.waiting.len()) else { return };
                let number = self.naive.waiting[nth].number;
                assert!(self.queue.remove(Ticket(number)).is_some());
                self.naive.leave(number);
            }
            Step::Unqueued { class, caller, tokens } => {
                let demand = call(classes[class], CALLERS[caller], tokens);
                let share = self.queue.grant_unqueued(&demand);
                self.granted.push((share, self.naive.unqueued(class, caller, tokens)));
            }
            Step::Settle { nth, tokens } => {
                let Some(nth) = nth.checked_rem(self.granted.len()) else { return };
                let (share, granted) = self.granted.swap_remove(nth);
                match tokens {
                    Some(tokens) => self.queue.settle(share, &used(tokens)),
                    None => self.queue.cancel(share),
                }
                self.naive.settle(granted, tokens.unwrap_or(0));
            }
        }
    }

    fn grant(&mut self, ticket: Option<Ticket>) {
        let Some(ticket) = ticket else { return };
        let (_, share) = self.queue.grant(ticket, at(self.now)).unwrap();
        self.granted.push((share, self.naive.grant(ticket.0, self.now)));
    }

    fn compare(&self) {
        let now = at(self.now);
        let naive = &self.naive;
        let head = self.queue.head(now).map(|(ticket, _)| ticket.0);
        assert_eq!(head, naive.head(self.now).map(|waiter| waiter.number));
        let candidates = self.queue.candidates(now);
        let candidates: Vec<u64> = candidates.into_iter().map(|(ticket, _)| ticket.0).collect();
        assert_eq!(candidates.first().copied(), head);
        assert_eq!(candidates, naive.candidates(self.now));
        assert_eq!(self.queue.next_change(now), naive.next_change(self.now).map(at));
        assert_eq!(self.queue.len(), naive.waiting.len());
        let due = naive.waiting.iter().filter_map(|w| w.deadline.map(|at| (at, w.number))).min();
        let late = due.filter(|(deadline, _)| *deadline < self.now).map(|(_, number)| number);
        assert_eq!(self.queue.expired(now).map(|ticket| ticket.0), late);
        let expiry = due.map(|(deadline, _)| at(deadline) + Duration::from_nanos(1));
        assert_eq!(self.queue.next_expiry(), expiry);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn the_queue_is_the_naive_one(
        ageing in 1..20_u64,
        is_fair in any::<bool>(),
        steps in proptest::collection::vec(step(), 1..160),
    ) {
        let mut both = Both::new(ageing, is_fair);
        for step in &steps {
            both.take(step);
            both.compare();
        }
    }
}
