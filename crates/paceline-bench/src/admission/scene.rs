//! One run: which calls, how many in flight, which client against which server.
//!
//! It judges nothing. Invariant: a scene and a seed say everything, so that a run can be repeated.

use std::sync::Arc;
use std::time::Duration;

use paceline_core::{Dimension, LimitKey, Quota};
use paceline_limiter::{ChargeRule, Limit, Profile};
use paceline_sim::engine::{Charge, Meter, Rule, Shape, shapes};

use super::gate::{Ours, not_zero};
use super::rivals::{Bucket, Oracle};
use super::server::Server;
use super::tally::Outcome;
use super::workload::{Class, MILLI, Mix, Source, Speed, real, whole};
use super::world::{self, Setup, WINDOW, World};

/// Which client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Client {
    /// Ours, holding what a call could use at most until it is settled.
    Hold,
    /// Ours, for servers known to count on completion.
    Flow,
    /// Ours, for servers that are not known.
    Smooth,
    /// A token bucket that settles.
    Bucket,
    /// One that knows all.
    Oracle,
}

/// One run.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scene {
    pub(super) client: Client,
    pub(super) mix: Mix,
    pub(super) speed: Speed,
    /// How many calls are in flight at the quota.
    pub(super) load: u64,
    /// The longest way to or from the server, and what the client takes for it.
    pub(super) jitter: u64,
    pub(super) delay: Duration,
    /// Whether requests are limited too: to this share of what the tokens would allow.
    pub(super) requests: Option<f64>,
    /// How the server counts tokens: a sliding window charged on completion, unless it is one of
    /// the engine's shapes, by its place.
    pub(super) shape: Option<usize>,
    pub(super) setup: Setup,
}

/// What all runs share.
#[derive(Clone, Debug)]
pub(super) struct Lab {
    pub(super) trace: Arc<[(u64, u64)]>,
    pub(super) seed: u64,
    /// How many windows to count; by default as many as the number of calls asks for.
    pub(super) windows: Option<u64>,
}

impl Client {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Hold => "hold",
            Self::Flow => "flow",
            Self::Smooth => "smooth",
            Self::Bucket => "bucket",
            Self::Oracle => "oracle",
        }
    }
}

impl Scene {
    pub(super) fn new(client: Client, mix: Mix) -> Self {
        Self {
            client,
            mix,
            speed: Speed::Steady,
            load: 8,
            jitter: 50 * MILLI,
            delay: Duration::from_millis(50),
            requests: None,
            shape: None,
            setup: Setup::default(),
        }
    }

    /// Runs it.
    pub(super) fn play(&self, lab: &Lab) -> Outcome {
        let seed = lab.seed ^ self.salt();
        let source = Source::new(Arc::clone(&lab.trace), self.mix, self.speed, self.jitter, seed);
        let (tokens, latency) = source.means();
        let calls = real(self.load) * real(WINDOW) / latency;
        let limit = whole(calls * tokens);
        let mut setup = self.setup;
        let windows = setup.windows.or(lab.windows).unwrap_or_else(|| enough(calls));
        if self.client == Client::Bucket {
            setup.workers = Some(WORKERS * self.load);
        }
        let quota = world::Quota { limit, windows, mean: tokens };
        let known = Class::ALL.map(|class| source.known(class));
        let caps = known.map(|known| known.cap);
        let rates = self.requests.map(|share| Rates::of(calls * share));
        let server = self.server(limit, rates);
        match self.client {
            Client::Hold | Client::Flow | Client::Smooth => {
                let limits = self.limits(limit, rates);
                let make = || Ours::new(limits.clone(), known);
                World::new(setup, quota, server, source, caps, make).run()
            }
            Client::Bucket => {
                World::new(setup, quota, server, source, caps, || Bucket::new(limit, known)).run()
            }
            Client::Oracle => {
                World::new(setup, quota, server, source, caps, || Oracle::new(limit)).run()
            }
        }
    }

    fn server(&self, limit: u64, rates: Option<Rates>) -> Server {
        let window = Duration::from_nanos(WINDOW);
        let tokens = match self.shape {
            Some(place) => shapes(limit, window).expect(LASTS)[place].1,
            None => sliding(limit, window, Charge::Completion),
        };
        let requests = rates.into_iter().flat_map(|rates| {
            [(rates.minute, window), (rates.second, Duration::from_secs(1))]
                .map(|(limit, window)| Meter::new(sliding(limit, window, Charge::Arrival)))
        });
        Server::new(Meter::new(tokens), requests.collect())
    }

    fn limits(&self, limit: u64, rates: Option<Rates>) -> Vec<Limit> {
        let profile = match self.client {
            Client::Smooth => Profile::Smooth,
            _ => Profile::GrokStrict,
        };
        let of = |dimension, quota| profile.limit(LimitKey::All, dimension, quota, self.delay);
        let mut tokens = of(Dimension::TotalTokens, Quota::per_minute(not_zero(limit)));
        if self.client == Client::Flow {
            tokens = tokens.charged(ChargeRule::Flow);
        }
        let mut limits = vec![tokens];
        if let Some(rates) = rates {
            limits.push(of(Dimension::Requests, Quota::per_minute(not_zero(rates.minute))));
            limits.push(of(Dimension::Requests, Quota::per_second(not_zero(rates.second))));
        }
        limits
    }

    /// So that no two scenes draw the same calls, but for the client: clients are compared on the
    /// same ones.
    fn salt(&self) -> u64 {
        let mix = match self.mix {
            Mix::All(class) => class.index() as u64,
            Mix::Half => 3,
        };
        (mix << 16 | self.load).wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }
}

/// Limits on requests.
#[derive(Clone, Copy, Debug)]
struct Rates {
    minute: u64,
    second: u64,
}

impl Rates {
    /// So many a minute, and as many a second as the server's documents say.
    fn of(calls: f64) -> Self {
        let minute = whole(calls.floor()).max(1);
        Self { minute, second: (minute / 48).max(2) }
    }
}

fn sliding(limit: u64, window: Duration, charge: Charge) -> Rule {
    Rule::new(limit, window, Shape::Sliding, charge).expect(LASTS)
}

/// Why a rule of a scene is one.
const LASTS: &str = "a minute and a second are longer than nothing";

/// As many windows as it takes for enough calls, within bounds.
fn enough(calls_a_window: f64) -> u64 {
    whole((CALLS / calls_a_window).ceil()).clamp(FEWEST, MOST)
}

/// Calls that make a rate of refusals of one in 10,000 visible.
const CALLS: f64 = 30_000.0;

/// The fewest windows, so that the highest is a high one, and the most, so that a run ends.
const FEWEST: u64 = 40;
const MOST: u64 = 2_000;

/// How many workers the bucket's client has for a call in flight at the quota. Without a bound the
/// refused ones would pile up.
const WORKERS: u64 = 8;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admission::world::Arrivals;

    fn lab() -> Lab {
        let trace = Arc::from(vec![(1_000, 200), (300, 40), (4_000, 600), (800, 900)]);
        Lab { trace, seed: 3, windows: Some(4) }
    }

    fn play(client: Client, change: impl Fn(&mut Scene)) -> Outcome {
        let mut scene = Scene::new(client, Mix::All(Class::Chat));
        change(&mut scene);
        scene.play(&lab())
    }

    #[test]
    fn a_seed_repeats_a_run() {
        let run = || play(Client::Bucket, |_| ()).tally;
        let (one, other) = (run(), run());
        assert_eq!((one.sends, one.refused), (other.sends, other.refused));
        assert!((one.ours - other.ours).abs() < 1e-9);
    }

    #[test]
    fn who_holds_is_not_refused_and_whoever_does_not_is() {
        let held = play(Client::Hold, |_| ());
        assert!(held.tally.refused.is_empty() && held.highest <= 1.0 && held.used > 0.8);
        let poured = play(Client::Bucket, |_| ());
        assert!(!poured.tally.refused.is_empty() && poured.highest > 1.0);
    }

    #[test]
    fn requests_that_nobody_spaces_are_refused_as_such() {
        let tight = |scene: &mut Scene| scene.requests = Some(0.5);
        assert!(play(Client::Oracle, tight).tally.refused_as_requests > 0);
        let ours = play(Client::Hold, tight);
        assert_eq!(ours.tally.refused_as_requests, 0);
        assert!(ours.used < 0.55, "{}", ours.used);
    }

    #[test]
    fn a_silent_cut_and_a_lost_memory_are_felt_when_they_happen_and_not_before() {
        let refused = |change: fn(&mut Setup)| {
            play(Client::Hold, |scene| change(&mut scene.setup)).tally.refused
        };
        let cut = refused(|setup| setup.cut = Some((2 * WINDOW, 4 * WINDOW, 0.5)));
        let lost = refused(|setup| setup.restart = Some(2 * WINDOW));
        for times in [cut, lost] {
            assert!(times.first().is_some_and(|at| *at >= 2 * WINDOW));
        }
    }

    #[test]
    fn a_neighbour_takes_what_it_wants() {
        let shared = play(Client::Hold, |scene| scene.setup.neighbour = Some(0.3));
        assert!((shared.theirs - 0.3).abs() < 0.1, "{}", shared.theirs);
        assert!(!shared.tally.refused.is_empty());
    }

    #[test]
    fn calls_that_come_by_themselves_use_what_they_are() {
        let come = |arrivals| {
            let run = play(Client::Oracle, |scene| scene.setup.arrivals = arrivals);
            (run.used, run.tally.wait_99())
        };
        let (used, _) = come(Arrivals::Share(0.5));
        assert!((used - 0.5).abs() < 0.1, "{used}");
        let (_, wait) = come(Arrivals::Bursts(3.0, 4 * WINDOW));
        assert!(wait > 60.0, "{wait}");
    }
}
