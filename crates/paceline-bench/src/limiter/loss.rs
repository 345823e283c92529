//! The share of a quota that is lost because a window is kept in slots.
//!
//! In virtual time: a backlog of small calls of known size, each over at once, is let through as
//! fast as the limit allows, and the time is taken in which twenty limits pass after the first. No
//! rolling window does better than its length for each of them. Requests a second are spaced for
//! the delay bound as well, so that W / (W + d) is left of them. Invariant: no clock is read.

use std::num::NonZeroU64;
use std::time::Duration;

use paceline_core::{Amount, Demand, Dimension, Instant, LimitKey, Quota};
use paceline_limiter::Limit;

use super::book::Book;
use super::ours::{self, Held};
use crate::row::Row;

/// How much a window allows.
const LIMIT: NonZeroU64 = NonZeroU64::new(6_000).expect("not zero");

/// How many limits are timed.
const WINDOWS: u64 = 20;

/// The most that may be lost.
const MOST: f64 = 0.003;

/// How the backlog begins.
#[derive(Clone, Copy, Debug)]
enum Start {
    /// The whole first limit at once, so that it comes back at once.
    Burst,
    /// The first limit evenly over a window, so that every slot has its part.
    Even,
}

/// Measures tokens a minute, held until settled and pooled, and requests a second.
pub(super) fn measure(book: &mut Book<'_>) {
    let second = Duration::from_secs(1);
    let left = second.as_secs_f64() / (second + Limit::DEFAULT_DELAY).as_secs_f64();
    let least = (left * (1.0 - MOST) * 1e4).round() / 1e4;
    for (start, how) in [(Start::Burst, "burst"), (Start::Even, "even")] {
        let minute = Quota::per_minute(LIMIT);
        for (name, held) in [("hold", ours::holding()), ("flow", ours::flowing())] {
            let share = used(held, Dimension::TotalTokens, minute, start);
            let mut row = Row::new(format!("loss/{name}/minute/{how}"), 1.0 - share, "share");
            row.at_most(MOST);
            book.row(row);
        }
        let share = used(ours::arriving(), Dimension::Requests, Quota::per_second(LIMIT), start);
        let mut row = Row::new(format!("used/arrival/second/{how}"), share, "share");
        row.at_least(least);
        book.row(row);
    }
}

/// The share of the quota that was used in the time in which [`WINDOWS`] limits passed after the
/// first; not a number where there is no such limit.
fn used(held: Option<Held>, dimension: Dimension, quota: Quota, start: Start) -> f64 {
    timed(held, dimension, quota, start).unwrap_or(f64::NAN)
}

fn timed(held: Option<Held>, dimension: Dimension, quota: Quota, start: Start) -> Option<f64> {
    let mut held = held?;
    held.add(LimitKey::All, quota)?;
    let window = quota.window()?;
    let demand = Demand::new().with(dimension, Amount::exact(1));
    let mut now = BEGIN;
    for call in 0..LIMIT.get() {
        let offset = match start {
            Start::Burst => Duration::ZERO,
            Start::Even => window.mul_f64(fraction(call, LIMIT.get())),
        };
        now = passed(&mut held, &demand, now.max(BEGIN + offset))?;
    }
    let first = now;
    for _ in 0..WINDOWS * LIMIT.get() {
        now = passed(&mut held, &demand, now)?;
    }
    let least = window.as_secs_f64() * fraction(WINDOWS, 1);
    Some(least / now.since(first).as_secs_f64())
}

/// When a call passes that is there from this moment on; `None` if never.
fn passed(held: &mut Held, demand: &Demand, from: Instant) -> Option<Instant> {
    let mut now = from;
    while let Err(until) = held.call(demand, now) {
        if until == Instant::MAX {
            return None;
        }
        now = now.max(until);
    }
    Some(now)
}

#[expect(clippy::cast_precision_loss, reason = "counts far below 2^52")]
fn fraction(count: u64, of: u64) -> f64 {
    count as f64 / of as f64
}

/// Some time after the origin, as a window looks back.
const BEGIN: Instant = Instant::from_nanos(3_600_000_000_000);
