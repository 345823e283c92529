//! The order by hand: tables of who comes and who is served, one promise each.
//!
//! Promises under random traffic are in the files beside this one.

use std::num::NonZeroU32;

use paceline_core::{Amount, Caller};

use Class::{Batch, Interactive, Standard};

use super::*;

mod fairness;
mod oracle;

fn at(seconds: u64) -> Instant {
    Instant::from_nanos(seconds * 1_000_000_000)
}

fn queue(policy: QueuePolicy) -> Queue {
    Queue::new(policy).unwrap()
}

fn fair(policy: FairShare) -> Queue {
    queue(QueuePolicy::new().fair(policy))
}

fn call(class: Class, caller: &str, tokens: u64) -> Demand {
    Demand::call(Amount::exact(tokens)).class(class).caller(caller)
}

fn weight(weight: u32) -> NonZeroU32 {
    NonZeroU32::new(weight).unwrap()
}

fn used(tokens: u64) -> Actual {
    Actual::new().with(Dimension::TotalTokens, tokens)
}

/// Pushes one call of a caller, a letter each, and hands back the tickets.
fn push_all(queue: &mut Queue, callers: &str, tokens: u64, now: Instant) -> Vec<Ticket> {
    let calls = callers.chars().map(|c| call(Standard, &c.to_string(), tokens));
    calls.map(|demand| queue.push(demand, now).unwrap()).collect()
}

fn caller(demand: &Demand) -> String {
    demand.caller_name().map_or_else(|| "-".to_owned(), Caller::to_string)
}

/// Serves the next `most` and says whose they were.
fn serve(queue: &mut Queue, most: usize, now: Instant) -> String {
    let mut served = String::new();
    for _ in 0..most {
        let Some((ticket, demand)) = queue.head(now) else { break };
        served += &caller(demand);
        let _share = queue.grant(ticket, now);
    }
    served
}

/// Calls come at a second in a class; then one is served at each of `serves`. `expected` are
/// numbers of the calls in the order in which they are served.
#[track_caller]
fn check_classes(comes: &[(u64, Class)], serves: &[u64], expected: &[u64]) {
    let mut queue = queue(QueuePolicy::new().ageing(Duration::from_secs(10)));
    let mut comes = comes.iter().peekable();
    let mut served = Vec::new();
    for now in serves {
        while let Some((then, class)) = comes.next_if(|(then, _)| then <= now) {
            queue.push(Demand::new().class(*class), at(*then)).unwrap();
        }
        let Some((ticket, _)) = queue.head(at(*now)) else { continue };
        served.push(ticket.0);
        assert!(queue.grant(ticket, at(*now)).is_some());
    }
    assert_eq!(served, expected);
}

#[test]
fn the_first_to_come_is_the_head_until_it_leaves() {
    let mut queue = Queue::default();
    let now = at(0);
    let first = queue.push(Demand::new(), now).unwrap();
    let demand = Demand::new().deadline(Instant::from_nanos(5));
    let second = queue.push(demand, now).unwrap();
    assert_eq!(queue.head(now).map(|(ticket, _)| ticket), Some(first));
    assert!(queue.remove(first).is_some());
    assert!(queue.remove(first).is_none());
    assert!(queue.grant(first, now).is_none());
    assert_eq!(queue.head(now).map(|(ticket, _)| ticket), Some(second));
    assert_eq!(queue.expired(Instant::from_nanos(5)), None);
    assert_eq!(queue.next_expiry(), Some(Instant::from_nanos(6)));
    assert_eq!(queue.expired(Instant::from_nanos(6)), Some(second));
    assert!(queue.remove(second).is_some());
    assert_eq!((queue.len(), queue.next_expiry(), queue.is_empty()), (0, None, true));
}

#[test]
fn only_so_many_wait() {
    let mut queue = queue(QueuePolicy::new().max_waiting(1));
    let first = queue.push(Demand::new(), at(0)).unwrap();
    let full = Refusal::QueueFull { waiting: 1 };
    assert_eq!(queue.push(Demand::new(), at(0)), Err(full));
    queue.remove(first);
    assert!(queue.push(Demand::new(), at(0)).is_ok());
}

#[test]
fn the_more_urgent_class_goes_first_and_within_it_the_first_to_come() {
    let comes = [(0, Batch), (0, Standard), (0, Interactive), (0, Standard), (0, Interactive)];
    check_classes(&comes, &[0; 5], &[2, 4, 1, 3, 0]);
}

#[test]
fn a_class_gains_one_for_each_step_that_it_is_not_served() {
    // Interactive calls come twice as fast as they are served.
    let mut queue = queue(QueuePolicy::new().ageing(Duration::from_secs(10)));
    queue.push(Demand::new(), at(0)).unwrap();
    queue.push(Demand::new().class(Batch), at(0)).unwrap();
    let mut served = Vec::new();
    for second in 0..25 {
        for _ in 0..2 {
            queue.push(Demand::new().class(Interactive), at(second)).unwrap();
        }
        let (ticket, _) = queue.head(at(second)).unwrap();
        let (demand, _share) = queue.grant(ticket, at(second)).unwrap();
        if demand.urgency() != Interactive {
            served.push((second, demand.urgency()));
        }
    }
    assert_eq!(served, [(10, Standard), (20, Batch)]);
}

#[test]
fn a_backlog_of_a_class_below_gets_one_call_through_for_each_step() {
    // Three batch calls wait since 0; when the interactive one comes at 100 s they are long
    // level with it. One goes, and then the order is as it was.
    let comes = [(0, Batch), (0, Batch), (0, Batch), (100, Interactive), (100, Interactive)];
    check_classes(&comes, &[100, 100, 100, 119, 119], &[0, 3, 4, 1, 2]);
}

#[test]
fn a_large_call_at_the_head_is_passed_by_one_of_each_other_class_at_most() {
    let mut queue = queue(QueuePolicy::new().ageing(Duration::from_secs(10)));
    queue.push(call(Standard, "b", 1), at(0)).unwrap();
    queue.push(call(Batch, "c", 1), at(0)).unwrap();
    let small = queue.push(call(Interactive, "a", 1), at(5)).unwrap();
    let large = queue.push(call(Interactive, "a", 1_000_000), at(5)).unwrap();
    let _share = queue.grant(small, at(5));
    let mut passed = Vec::new();
    for second in 5..1_000 {
        queue.push(call(Standard, "b", 1), at(second)).unwrap();
        queue.push(call(Batch, "c", 1), at(second)).unwrap();
        let (ticket, demand) = queue.head(at(second)).unwrap();
        if ticket != large {
            passed.push((second, demand.urgency()));
            let _share = queue.grant(ticket, at(second));
        }
    }
    // Those that had gone without for longer; what comes later never passes.
    assert_eq!(passed, [(10, Standard), (20, Batch)]);
}

#[test]
fn ageing_without_end_never_ages_and_says_so() {
    let mut queue = queue(QueuePolicy::new().ageing(Duration::MAX));
    queue.push(Demand::new().class(Batch), at(0)).unwrap();
    let late = at(10_000_000_000);
    let urgent = queue.push(Demand::new().class(Interactive), late).unwrap();
    assert_eq!(queue.head(late).map(|(ticket, _)| ticket), Some(urgent));
    assert_eq!(queue.next_change(late), None);
}

#[test]
fn the_next_change_is_when_a_class_below_becomes_first() {
    let mut queue = queue(QueuePolicy::new().ageing(Duration::from_secs(10)));
    assert_eq!(queue.next_change(at(0)), None);
    queue.push(Demand::new().class(Batch), at(0)).unwrap();
    assert_eq!(queue.next_change(at(0)), None);
    queue.push(Demand::new().class(Interactive), at(3)).unwrap();
    assert_eq!(queue.next_change(at(3)), Some(at(20)));
    assert_eq!(queue.next_change(at(20)), None);
}

#[test]
fn callers_take_turns_and_each_is_served_in_its_own_order() {
    let mut queue = fair(FairShare::by_caller());
    push_all(&mut queue, "aaaabbc", 10, at(0));
    assert_eq!(serve(&mut queue, 7, at(0)), "abcabaa");
}

#[test]
fn without_fair_shares_callers_are_served_as_they_came() {
    let mut queue = Queue::default();
    push_all(&mut queue, "aaaabbc", 10, at(0));
    assert_eq!(serve(&mut queue, 7, at(0)), "aaaabbc");
}

#[test]
fn a_share_is_of_what_is_used_not_of_calls() {
    let mut queue = fair(FairShare::by_caller());
    for _ in 0..4 {
        queue.push(call(Standard, "a", 30), at(0)).unwrap();
    }
    push_all(&mut queue, "bbbbbbbbb", 10, at(0));
    assert_eq!(serve(&mut queue, 8, at(0)), "abbbabbb");
    // At 60 each a's third call came first.
    assert_eq!(serve(&mut queue, 4, at(0)), "abbb");
    let mut queue = fair(FairShare::by_caller().measured_in(Dimension::Requests));
    queue.push(call(Standard, "a", 30), at(0)).unwrap();
    queue.push(call(Standard, "a", 30), at(0)).unwrap();
    push_all(&mut queue, "bb", 10, at(0));
    assert_eq!(serve(&mut queue, 4, at(0)), "abab");
}

#[test]
fn weights_one_and_three_share_one_to_three() {
    let mut queue = fair(FairShare::by_caller().weight("b", weight(3)));
    push_all(&mut queue, &"ab".repeat(400), 10, at(0));
    let served = serve(&mut queue, 400, at(0));
    assert_eq!(served.matches('a').count(), 100);
    assert_eq!(&served[..8], "abbbabbb");
}

#[test]
fn calls_of_nothing_count_and_calls_of_nobody_are_one_caller() {
    let mut queue = fair(FairShare::by_caller());
    push_all(&mut queue, "aaa", 0, at(0));
    for _ in 0..3 {
        queue.push(Demand::new(), at(0)).unwrap();
    }
    assert_eq!(serve(&mut queue, 6, at(0)), "a-a-a-");

    let tickets = push_all(&mut queue, "bbc", 10, at(0));
    let (_, share) = queue.grant(tickets[0], at(0)).unwrap();
    queue.settle(share, &used(0));
    assert_eq!(serve(&mut queue, 2, at(0)), "cb");
}

#[test]
fn time_away_earns_nothing() {
    let mut queue = fair(FairShare::by_caller());
    // b is served once and goes; a is served a thousand times.
    push_all(&mut queue, "b", 10, at(0));
    push_all(&mut queue, &"a".repeat(1_010), 10, at(0));
    serve(&mut queue, 1_001, at(0));
    push_all(&mut queue, "bbbbbb", 10, at(1));
    // a and b take turns at once; c is new and is treated alike.
    push_all(&mut queue, "ccc", 10, at(1));
    assert_eq!(serve(&mut queue, 9, at(1)), "abcabcabc");
}

#[test]
fn what_was_admitted_while_nobody_waited_is_not_held_against_anyone() {
    let begin_with = |callers: &str| {
        let mut queue = fair(FairShare::by_caller());
        for _ in 0..1_000 {
            let _share = queue.grant_unqueued(&call(Standard, "a", 10));
        }
        push_all(&mut queue, callers, 10, at(0));
        serve(&mut queue, 6, at(0))
    };
    assert_eq!(begin_with("aaabbb"), "ababab");
    // Only the last of the thousand still counts, where the other one is there first.
    assert_eq!(begin_with("bbbaaa"), "bbabaa");
}

#[test]
fn a_settlement_gives_back_what_was_not_used_and_takes_what_was_used_beyond() {
    let mut queue = fair(FairShare::by_caller());
    let tickets = push_all(&mut queue, "aaaabbbb", 100, at(0));
    let (_, first) = queue.grant(tickets[0], at(0)).unwrap();
    let (_, second) = queue.grant(tickets[4], at(0)).unwrap();
    queue.settle(first, &used(10));
    queue.settle(second, &used(350));
    // a stands at 10, b at 350.
    assert_eq!(serve(&mut queue, 5, at(0)), "aaabb");
}

#[test]
fn what_is_not_named_stays_as_expected_and_what_never_left_is_no_service() {
    let mut queue = fair(FairShare::by_caller());
    let tickets = push_all(&mut queue, "ccddd", 100, at(0));
    let (_, unknown) = queue.grant(tickets[0], at(0)).unwrap();
    let (_, unsent) = queue.grant(tickets[2], at(0)).unwrap();
    queue.settle(unknown, &Actual::new());
    queue.cancel(unsent);
    // c stands at 100, d at 0; then c's call came first.
    assert_eq!(serve(&mut queue, 3, at(0)), "dcd");
}

#[test]
fn what_an_old_call_gives_back_is_no_credit_for_time_away() {
    let mut queue = fair(FairShare::by_caller());
    let tickets = push_all(&mut queue, "b", 500, at(0));
    let (_, old) = queue.grant(tickets[0], at(0)).unwrap();
    push_all(&mut queue, &"a".repeat(200), 10, at(0));
    serve(&mut queue, 100, at(0));
    // a stands at 1,500, which is where b is lifted to. Its old call would have made it 0.
    push_all(&mut queue, "bbb", 10, at(1));
    queue.settle(old, &used(1));
    assert_eq!(serve(&mut queue, 6, at(1)), "ababab");
}

#[test]
fn classes_keep_counters_of_their_own() {
    let mut queue = fair(FairShare::by_caller());
    for _ in 0..5 {
        queue.push(call(Interactive, "a", 1_000), at(0)).unwrap();
    }
    push_all(&mut queue, "aabb", 10, at(0));
    assert_eq!(serve(&mut queue, 9, at(0)), "aaaaaabab");
}

#[test]
fn only_the_idle_are_forgotten_and_being_forgotten_gains_nothing() {
    let mut queue = fair(FairShare::by_caller());
    push_all(&mut queue, "ab", 10, at(0));
    for n in 0..5_000 {
        let ticket = queue.push(call(Standard, &format!("x{n}"), 1_000), at(0)).unwrap();
        let _share = queue.grant(ticket, at(0));
    }
    assert_eq!(queue.lines[1].known(), Line::MAX_IDLE + 2);
    // x0 had 1,000 and was forgotten; it comes back behind the two that wait.
    push_all(&mut queue, "a", 10, at(0));
    queue.push(call(Standard, "x0", 10), at(0)).unwrap();
    assert_eq!(serve(&mut queue, 4, at(0)), "abax0");
}

#[test]
fn candidates_are_the_head_alone_unless_others_may_overtake() {
    let mut strict = Queue::default();
    push_all(&mut strict, "ab", 10, at(0));
    assert_eq!(strict.candidates(at(0)).len(), 1);
    assert!(Queue::default().candidates(at(0)).is_empty());

    let policy = QueuePolicy::new().overtaking(Overtaking::IfHeadKeepsItsTime);
    let mut queue = queue(policy.clone());
    push_all(&mut queue, "ab", 10, at(0));
    queue.push(call(Interactive, "c", 10), at(0)).unwrap();
    let names = |queue: &Queue| -> String {
        queue.candidates(at(0)).into_iter().map(|(_, demand)| caller(demand)).collect()
    };
    assert_eq!(names(&queue), "cab");
    push_all(&mut queue, &"d".repeat(100), 10, at(0));
    assert_eq!(names(&queue).len(), QueuePolicy::LOOK_AHEAD);

    let mut shared = self::queue(policy.fair(FairShare::by_caller()));
    push_all(&mut shared, &("a".repeat(100) + "bc"), 10, at(0));
    assert_eq!(&names(&shared)[..5], "abcaa");
}

#[test]
fn what_overtakes_does_not_make_the_first_of_its_class_younger() {
    let policy = QueuePolicy::new().overtaking(Overtaking::IfHeadKeepsItsTime);
    let mut queue = queue(policy.ageing(Duration::from_secs(10)));
    let large = queue.push(call(Standard, "large", 1_000), at(0)).unwrap();
    for second in 0..10 {
        queue.push(call(Interactive, "i", 1), at(second)).unwrap();
        queue.push(call(Interactive, "i", 1), at(second)).unwrap();
        let (head, _) = queue.head(at(second)).unwrap();
        let _share = queue.grant(head, at(second));
        let small = queue.push(call(Standard, "s", 1), at(second)).unwrap();
        let _share = queue.grant(small, at(second));
    }
    assert_eq!(queue.head(at(10)).map(|(ticket, _)| ticket), Some(large));
}
