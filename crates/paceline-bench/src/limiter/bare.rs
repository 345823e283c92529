//! The least that a decision with a receipt can cost: the few steps that none of its kind can do
//! without, written out by hand on the same lock and the same clock.
//!
//! It is a floor, no limiter: every call fits, its limits are all of one kind, nothing can be changed,
//! nobody can wait, a window never moves on. Invariant: what it leaves out no row may be blamed for;
//! what it does do is done as plainly as can be.

use std::hint::black_box;

use paceline_core::{Clock, Demand, Dimension, Instant};
use paceline_limiter::clock::QuantaClock;
use spin::mutex::SpinMutex;

use super::timer::{PLACES, Side, Subject};

/// A window behind a pacer, as plain as it gets.
#[derive(Clone, Debug)]
struct BareLimit {
    dimension: Dimension,
    unit: u64,
    scale: u64,
    early: u128,
    arrival: u128,
    refunded: u128,
    used: u64,
    most: u64,
}

/// What a call did to one of them.
#[derive(Clone, Copy, Debug, Default)]
struct BareCharge {
    mark: u128,
    expected: u64,
    reserved: u64,
}

/// A place for a call, or the way to the next free one.
#[derive(Clone, Copy, Debug, Default)]
struct BareCall {
    next_free: usize,
    admitted_ns: u64,
    charges: [BareCharge; LIMITS],
}

#[derive(Debug)]
struct Bare {
    limits: Vec<BareLimit>,
    calls: Vec<BareCall>,
    free: usize,
    now: Instant,
}

/// On cache lines of its own.
#[derive(Debug)]
#[repr(align(128))]
struct Apart(Bare);

struct Floor {
    clock: QuantaClock,
    state: SpinMutex<Apart>,
    demand: Demand,
    used: u64,
    receipts: [Option<usize>; PLACES],
}

/// So many limits at most.
const LIMITS: usize = 2;

/// So many limits by hand, with a receipt that is settled.
pub(super) fn side(limits: usize, demand: &Demand, used: u64) -> Side {
    let limit = |dimension| BareLimit {
        dimension,
        unit: 60_000_000_000,
        scale: 1 << 44,
        early: 60_000_000_000 << 43,
        arrival: 0,
        refunded: 0,
        used: 0,
        most: 1 << 44,
    };
    let limits =
        [Dimension::Requests, Dimension::TotalTokens].map(limit).into_iter().take(limits).collect();
    let calls = (1..=PLACES).map(|next_free| BareCall { next_free, ..BareCall::default() });
    let bare = Bare { limits, calls: calls.collect(), free: 0, now: Instant::ORIGIN };
    let floor = Floor {
        clock: QuantaClock::new(),
        state: SpinMutex::new(Apart(bare)),
        demand: demand.clone(),
        used,
        receipts: [None; PLACES],
    };
    Side::new("ours", "by hand, nothing but its arithmetic, its lock and its clock", floor)
}

impl Bare {
    #[inline]
    fn admit(&mut self, demand: &Demand, now: Instant) -> Option<usize> {
        self.now = self.now.max(now);
        let place = self.free;
        let call = self.calls.get_mut(place)?;
        for (limit, charge) in self.limits.iter_mut().zip(&mut call.charges) {
            let amount = demand.amount(limit.dimension)?;
            let (expected, reserved) = (amount.expected_amount(), amount.upper_amount());
            let time = u128::from(self.now.as_nanos()) * u128::from(limit.scale);
            let cost = u128::from(expected) * u128::from(limit.unit);
            if limit.used + reserved > limit.most || limit.arrival + cost > time + limit.early {
                return None;
            }
            limit.arrival = limit.arrival.max(time) + cost;
            limit.used += reserved;
            let mark = limit.arrival.wrapping_add(limit.refunded);
            *charge = BareCharge { mark, expected, reserved };
        }
        call.admitted_ns = self.now.as_nanos();
        self.free = call.next_free;
        Some(place)
    }

    #[inline]
    fn settle(&mut self, place: usize, used: u64, now: Instant) {
        self.now = self.now.max(now);
        let Some(call) = self.calls.get_mut(place) else { return };
        for (limit, charge) in self.limits.iter_mut().zip(&call.charges) {
            let time = u128::from(self.now.as_nanos()) * u128::from(limit.scale);
            let unused = u128::from(charge.expected.saturating_sub(used)) * u128::from(limit.unit);
            let left = charge.mark.wrapping_sub(limit.refunded).saturating_sub(time);
            let refund = unused.min(left);
            limit.arrival -= refund;
            limit.refunded = limit.refunded.wrapping_add(refund);
            // The window it would count in has no more to do than this sum.
            limit.used -= charge.reserved;
        }
        call.next_free = self.free;
        self.free = place;
    }
}

impl Subject for Floor {
    const SETTLES: bool = true;

    fn acquire(&mut self, place: usize) -> bool {
        let now = self.clock.now();
        let receipt =
            self.state.try_lock().and_then(|mut state| state.0.admit(black_box(&self.demand), now));
        self.receipts[place] = receipt;
        receipt.is_some()
    }

    fn settle(&mut self, place: usize) {
        let Some(receipt) = self.receipts[place].take() else { return };
        let now = self.clock.now();
        if let Some(mut state) = self.state.try_lock() {
            state.0.settle(receipt, black_box(self.used), now);
        }
    }
}
