//! So many calls at once, one turn after the other, and what a turn took.
//!
//! Calls are made by tasks on one thread; each makes its next call when its last one is answered.
//! Invariant: the sides of a pair take turns, and every other round in the opposite order, so that what
//! slows the machine down for a while slows down both.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinSet;

use super::server::{Kind, Server};
use super::sides::Side;
use crate::cpu::process_cpu;

/// How many calls at once, and how many in a turn.
#[derive(Clone, Copy, Debug)]
pub(super) struct Load {
    pub(super) at_once: u64,
    pub(super) calls: u64,
}

/// What one turn of one side came to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Turn {
    /// CPU time of this process for each call, in microseconds; not a number where nobody tells it.
    pub(super) cpu_us: f64,
    /// The median of how long a call took.
    pub(super) median_ms: f64,
    pub(super) calls_per_s: f64,
}

/// Turns of bare reqwest and of ours, round by round, and the connections that each opened.
pub(super) struct Pair {
    pub(super) rounds: Vec<(Turn, Turn)>,
    pub(super) connections: (u64, u64),
}

/// The runtime that both sides run on.
pub(super) fn runtime() -> Result<Runtime, String> {
    Builder::new_current_thread().enable_all().build().map_err(|why| why.to_string())
}

impl Load {
    /// Measures both sides in so many rounds, after one that is not measured.
    pub(super) fn pair(self, after: Duration, rounds: u32) -> Result<Pair, String> {
        let (bare_server, our_server) = (Server::start()?, Server::start()?);
        let kind = Kind::Whole(after);
        let runtime = runtime()?;
        let _inside = runtime.enter();
        let bare = Side::bare(&bare_server, kind)?;
        let ours = Side::ours(&our_server, kind)?;
        let rounds = runtime.block_on(async {
            for side in [&bare, &ours] {
                side.begin(kind).await?;
                self.turn(side).await?;
            }
            let mut measured = Vec::new();
            for round in 0..rounds {
                measured.push(if round % 2 == 0 {
                    let bare = self.turn(&bare).await?;
                    (bare, self.turn(&ours).await?)
                } else {
                    let ours = self.turn(&ours).await?;
                    (self.turn(&bare).await?, ours)
                });
            }
            Ok::<_, String>(measured)
        })?;
        let connections = (bare_server.connections()?, our_server.connections()?);
        Ok(Pair { rounds, connections })
    }

    async fn turn(self, side: &Side) -> Result<Turn, String> {
        let left = Arc::new(AtomicU64::new(self.calls));
        let (started, cpu) = (Instant::now(), process_cpu());
        let mut callers = JoinSet::new();
        for _ in 0..self.at_once {
            callers.spawn(caller(side.clone(), Arc::clone(&left)));
        }
        let mut took = Vec::with_capacity(usize::try_from(self.calls).unwrap_or(0));
        while let Some(caller) = callers.join_next().await {
            took.extend(caller.map_err(|why| why.to_string())??);
        }
        let spent = process_cpu().zip(cpu).map(|(after, before)| after.saturating_sub(before));
        let passed = started.elapsed();
        took.sort_unstable();
        let calls = took.len() as f64;
        Ok(Turn {
            cpu_us: spent.map_or(f64::NAN, |spent| spent.as_secs_f64() * 1e6 / calls),
            median_ms: took[took.len() / 2].as_secs_f64() * 1e3,
            calls_per_s: calls / passed.as_secs_f64(),
        })
    }
}

/// Calls until none are left; how long each took.
async fn caller(side: Side, left: Arc<AtomicU64>) -> Result<Vec<Duration>, String> {
    let mut took = Vec::new();
    let one_less = |left: u64| left.checked_sub(1);
    while left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less).is_ok() {
        let begun = Instant::now();
        side.call().await?;
        took.push(begun.elapsed());
    }
    Ok(took)
}

/// The median of what every round came to.
pub(super) fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_unstable_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_one_in_the_middle_and_of_nothing_none() {
        assert_eq!(median([3.0, 1.0, 2.0].into_iter()), 2.0);
        assert!(median(std::iter::empty()).is_nan());
    }
}
