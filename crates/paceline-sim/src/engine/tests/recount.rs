//! The engine against recounts of everything from the beginning, on random calls.
//!
//! A recount keeps all that ever happened and adds it up anew at every question; what it shares
//! with the engine is the words of the rules.

use proptest::prelude::*;

use super::*;

/// All that ever happened to one limit.
struct Recount {
    rule: Rule,
    window: u64,
    /// What was counted and when; what is settled is changed in its place.
    counted: Vec<(u64, u64)>,
    /// What a bucket went through.
    moves: Vec<(u64, Move)>,
    peak: u64,
}

#[derive(Clone, Copy, Debug)]
enum Move {
    Taken(u64),
    Back(u64),
    Limit(u64),
}

impl Recount {
    fn new(rule: Rule) -> Self {
        let window = u64::try_from(rule.window().as_nanos()).expect("the tests' windows are short");
        let moves = vec![(0, Move::Limit(rule.limit()))];
        Self { rule, window, counted: Vec::new(), moves, peak: 0 }
    }

    fn used(&self, now: u64) -> u64 {
        let window = self.window;
        let sum = |counts: &dyn Fn(u64) -> bool| -> u64 {
            self.counted.iter().filter(|(at, _)| counts(*at)).map(|(_, amount)| amount).sum()
        };
        match self.rule.shape() {
            Shape::Sliding => sum(&|at| at + window > now),
            Shape::Aligned => sum(&|at| at / window == now / window),
            Shape::TwoCounter => {
                let before = sum(&|at| at / window + 1 == now / window);
                let left = window - now % window;
                sum(&|at| at / window == now / window) + (before * left).div_ceil(window)
            }
            Shape::Slices { count } => {
                let count = u64::from(count);
                let slice = |at: u64| at * count / window;
                sum(&|at| slice(at) + count > slice(now))
            }
            Shape::Bucket { .. } => self.lacks(now),
        }
    }

    /// In parts of a unit, a window's nanoseconds to each, so that there are no fractions.
    fn lacks(&self, now: u64) -> u64 {
        let (mut lacks, mut since, mut limit) = (0_u64, 0, 0);
        for (at, what) in &self.moves {
            lacks = lacks.saturating_sub((at - since) * limit);
            since = *at;
            match what {
                Move::Taken(amount) => lacks += amount * self.window,
                Move::Back(amount) => lacks = lacks.saturating_sub(amount * self.window),
                Move::Limit(new) => limit = *new,
            }
        }
        lacks.saturating_sub((now - since) * limit).div_ceil(self.window)
    }

    /// What refuses a call, if anything does.
    fn refusal(&self, ask: Ask, limit: u64, now: u64) -> Option<(u64, u64)> {
        let used = self.used(now);
        let asked = match self.rule.charge() {
            Charge::Arrival => ask.total,
            Charge::Completion => ask.input,
            Charge::Held => ask.most,
        };
        match self.rule.shape() {
            Shape::Bucket { capacity } if asked > capacity => {
                (used > 0).then_some((used + asked, capacity))
            }
            Shape::Bucket { capacity } => {
                (used + asked > capacity).then_some((used + asked, capacity))
            }
            _ => (used + asked > limit).then_some((used + asked, limit)),
        }
    }

    fn count(&mut self, amount: u64, now: u64) {
        self.counted.push((now, amount));
        self.moves.push((now, Move::Taken(amount)));
        self.peak = self.peak.max(self.used(now));
    }

    fn settle(&mut self, place: usize, ask: Ask, now: u64) {
        self.counted[place].1 = ask.total;
        let over = ask.total.saturating_sub(ask.most);
        self.moves.push((now, Move::Taken(over)));
        self.moves.push((now, Move::Back(ask.most.saturating_sub(ask.total))));
        self.peak = self.peak.max(self.used(now));
    }
}

/// What happens next.
#[derive(Clone, Copy, Debug)]
enum Step {
    Arrive(Ask),
    /// The call that has been open for longest ends, or one of the later ones.
    Complete(usize),
    /// A call that is over ends again.
    Again(usize),
    Count(u64),
    Limit(u64),
}

fn asks() -> impl Strategy<Value = Ask> {
    let ordered = (0..8_u64, 0..14_u64, 0..14_u64)
        .prop_map(|(input, output, spare)| (input, input + output, input + output + spare));
    // One in some uses more than it could, or brings more than it uses.
    prop_oneof![6 => ordered, 1 => (0..20_u64, 0..20_u64, 0..20_u64)]
        .prop_map(|(input, total, most)| Ask::new(total).input(input).most(most))
}

fn steps() -> impl Strategy<Value = Vec<(i64, Step)>> {
    // Mostly nearly nothing, now and then a window or a few, at times back.
    let gap =
        prop_oneof![6 => 0..4_i64, 4 => 0..60_i64, 1 => Just(60), 1 => 0..300_i64, 1 => -80..0_i64];
    let step = prop_oneof![
        8 => asks().prop_map(Step::Arrive),
        6 => (0..5_usize).prop_map(Step::Complete),
        1 => (0..9_usize).prop_map(Step::Again),
        1 => (0..20_u64).prop_map(Step::Count),
        1 => (0..90_u64).prop_map(Step::Limit),
    ];
    prop::collection::vec((gap, step), 1..120)
}

fn rules() -> impl Strategy<Value = Rule> {
    let shape = prop_oneof![
        Just(Shape::Sliding),
        Just(Shape::Aligned),
        Just(Shape::TwoCounter),
        (1..50_u64).prop_map(|capacity| Shape::Bucket { capacity }),
        (1..9_u32).prop_map(|count| Shape::Slices { count }),
    ];
    let charge = prop_oneof![Just(Charge::Arrival), Just(Charge::Completion), Just(Charge::Held)];
    let window = prop_oneof![Just(60_u64), 1..100_u64];
    (0..80_u64, window, shape, charge).prop_map(|(limit, window, shape, charge)| {
        Rule::new(limit, Duration::from_nanos(window), shape, charge).expect("they are legal")
    })
}

/// Plays the steps on both and compares all that can be asked after each.
fn agree(rule: Rule, steps: &[(i64, Step)]) -> Result<(), TestCaseError> {
    let (mut meter, mut recount) = (Meter::new(rule), Recount::new(rule));
    let (mut told, mut now, mut limit) = (0_u64, 0_u64, rule.limit());
    let mut open: Vec<(Call, Ask, usize)> = Vec::new();
    let mut over: Vec<Call> = Vec::new();
    for (gap, step) in steps {
        // A clock that steps back, and what time it is for the rules.
        told = told.saturating_add_signed(*gap);
        let seen = now.max(told);
        match *step {
            Step::Arrive(ask) => {
                now = seen;
                let refusal = recount.refusal(ask, limit, now);
                let place = recount.counted.len();
                match meter.arrive(ask, at(told)) {
                    Ok(call) => {
                        prop_assert_eq!(refusal, None);
                        open.push((call, ask, place));
                        match rule.charge() {
                            Charge::Arrival => recount.count(ask.total, now),
                            Charge::Completion => {}
                            Charge::Held => recount.count(ask.most, now),
                        }
                    }
                    Err(refused) => {
                        prop_assert_eq!(refusal, Some((refused.actual, refused.limit)));
                    }
                }
            }
            Step::Complete(place) if place < open.len() => {
                now = seen;
                let (call, ask, place) = open.remove(place);
                prop_assert!(meter.complete(call, at(told)));
                match rule.charge() {
                    Charge::Arrival => {}
                    Charge::Completion => recount.count(ask.total, now),
                    Charge::Held => recount.settle(place, ask, now),
                }
                over.push(call);
            }
            Step::Again(place) if place < over.len() => {
                prop_assert!(!meter.complete(over[place], at(told)));
            }
            Step::Complete(_) | Step::Again(_) => {}
            Step::Count(amount) => {
                now = seen;
                meter.count(amount, at(told));
                recount.count(amount, now);
            }
            Step::Limit(new) => {
                now = seen;
                limit = new;
                meter.set_limit(limit, at(told));
                recount.moves.push((now, Move::Limit(limit)));
            }
        }
        prop_assert_eq!(meter.used(at(0)), recount.used(now));
        for later in [seen, seen + 1, seen + 37, seen + recount.window] {
            prop_assert_eq!(meter.used(at(later)), recount.used(later), "at {}", later);
        }
        let most = match rule.shape() {
            Shape::Bucket { capacity } => capacity,
            _ => limit,
        };
        prop_assert_eq!(meter.remaining(at(seen)), most.saturating_sub(recount.used(seen)));
        prop_assert_eq!((meter.peak(), meter.open()), (recount.peak, open.len()));
    }
    Ok(())
}

/// The most in any window, one sum for each event at which one could end.
fn worst_by_hand(events: &[(u64, u64)], counts: impl Fn(u64, u64) -> bool) -> u128 {
    let sum_at = |end: u64| {
        let inside = events.iter().filter(|(at, _)| counts(*at, end));
        inside.map(|(_, amount)| u128::from(*amount)).sum()
    };
    events.iter().map(|(end, _)| sum_at(*end)).max().unwrap_or(0)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn a_meter_agrees_with_a_full_recount(rule in rules(), steps in steps()) {
        agree(rule, &steps)?;
    }

    /// No window of a log admitted by a meter that counts on arrival holds more than the limit:
    /// what is measured and what judges it agree on what a window is.
    #[test]
    fn what_a_window_admits_its_log_finds_within_the_limit(
        steps in prop::collection::vec((0..30_u64, 0..12_u64), 1..200),
    ) {
        for (shape, is_aligned) in [(Shape::Sliding, false), (Shape::Aligned, true)] {
            let mut meter = meter(20, 60, shape, Charge::Arrival);
            let (mut log, mut now) = (Log::new(), 0);
            for (gap, amount) in &steps {
                now += gap;
                if meter.arrive(Ask::new(*amount), at(now)).is_ok() {
                    log.add(at(now), *amount);
                }
            }
            let window = Duration::from_nanos(60);
            let worst =
                if is_aligned { log.worst_aligned(window) } else { log.worst_window(window) };
            prop_assert_eq!(worst, u128::from(meter.peak()));
            prop_assert!(worst <= 20);
        }
    }

    #[test]
    fn logs_find_the_fullest_window(
        events in prop::collection::vec((0..500_u64, 0..9_u64, 0..40_u64), 0..80),
        window in 1..120_u64,
    ) {
        // They happen in no order; they are told up to 40 late.
        let happened: Vec<_> = events.iter().map(|(at, amount, _)| (*at, *amount)).collect();
        let mut told = events.clone();
        told.sort_by_key(|(at, _, late)| at + late);
        let length = Duration::from_nanos(window);
        let mut rolling = Rolling::new(length).late(Duration::from_nanos(40));
        let mut so_far = Vec::new();
        for (now, amount, _) in told {
            so_far.push((now, amount));
            prop_assert_eq!(rolling.add(at(now), amount), Ok(()));
            let worst = worst_by_hand(&so_far, |at, end| at <= end && at + window > end);
            prop_assert_eq!(rolling.worst(), worst);
        }
        let mut log = Log::new();
        for (now, amount) in &happened {
            log.add(at(*now), *amount);
        }
        let worst = worst_by_hand(&happened, |at, end| at <= end && at + window > end);
        let aligned = worst_by_hand(&happened, |at, end| at / window == end / window);
        prop_assert_eq!((log.worst_window(length), log.worst_aligned(length)), (worst, aligned));
        prop_assert!(aligned <= worst);
        prop_assert_eq!(rolling.worst(), worst);
        prop_assert_eq!(log.total(), happened.iter().map(|(_, amount)| u128::from(*amount)).sum());
    }
}
