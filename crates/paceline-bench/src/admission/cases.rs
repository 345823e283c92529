//! What is measured, case by case, and what each has to reach.
//!
//! Invariant: a row's value is the worst over the loads, unless its name says which load.

use std::time::Duration;

use paceline_limiter::Limit;
use paceline_sim::engine::shapes;

use super::book::Book;
use super::scene::{Client, Scene};
use super::tally::Outcome;
use super::workload::{Class, MILLI, Mix, SECOND, Speed, real};
use super::world::{Arrivals, WINDOW};
use crate::row::Row;

/// One thing that is measured.
pub(super) struct Case {
    pub(super) name: &'static str,
    /// What it is, and what its rows mean.
    pub(super) about: &'static str,
    pub(super) measure: fn(&mut Book<'_>),
}

/// Every case, in the order in which they are measured.
pub(super) const CASES: &[Case] = &[
    Case {
        name: "hold",
        about: "Hold, a backlog: never refused and never above the limit, whatever it leaves unused",
        measure: hold,
    },
    Case {
        name: "flow",
        about: "Flow, a backlog. share_999: what used / limit stays below in 99.9 % of the time",
        measure: flow,
    },
    Case {
        name: "streams",
        about: "Flow where each call has a speed of its own, and streams are seen every 500 ms",
        measure: streams,
    },
    Case {
        name: "mixed",
        about: "Flow, half of the tokens reasoning and half short, told apart by tag, in order",
        measure: mixed,
    },
    Case {
        name: "requests",
        about: "Flow where requests a minute and a second bind too, refused ones counted",
        measure: requests,
    },
    Case {
        name: "bursts",
        about: "Flow, three limits' worth of calls at once every 4 minutes after idle",
        measure: bursts,
    },
    Case {
        name: "arrivals",
        about: "Hold, Flow and the oracle, calls that come by themselves at 0.8 of the quota. wait_99 in seconds",
        measure: arrivals,
    },
    Case {
        name: "shared",
        about: "Flow beside a client that takes 30 %, told by headers up to 1 s old or by nothing. used is ours and theirs",
        measure: shared,
    },
    Case {
        name: "smooth",
        about: "Smooth on every shape of server. Buckets of a sixtieth are apart: small ones refuse what is larger than they are",
        measure: smooth,
    },
    Case {
        name: "jitter",
        about: "Flow, ways of up to 250 ms that it has to learn",
        measure: jitter,
    },
    Case {
        name: "restart",
        about: "Flow, a client that forgets everything while its window is full. refused: in the five minutes after it",
        measure: restart,
    },
    Case {
        name: "cut",
        about: "Flow, a limit that is 0.8 of what was said for ten minutes, without a word. refused: in these",
        measure: cut,
    },
    Case {
        name: "bucket",
        about: "a token bucket with settlement, as other clients have it. ever_refused: calls refused at least once",
        measure: bucket,
    },
    Case {
        name: "oracle",
        about: "knows every call, never passes the limit, keeps the order",
        measure: oracle,
    },
];

type Runs = Vec<(u64, Outcome)>;

fn hold(book: &mut Book<'_>) {
    for class in Class::ALL {
        let runs = book.at_each_load(Scene::new(Client::Hold, Mix::All(class)), "");
        let used = book.row(&format!("{}.used", class.name()), least(&runs, |run| run.used), SHARE);
        match class {
            Class::Chat => used.at_least(0.92),
            Class::Short => used.at_least(0.985),
            Class::Reasoning => {}
        }
        refused(book, class.name(), &runs).at_most(0.0);
        highest(book, class.name(), &runs).at_most(1.0);
    }
}

fn flow(book: &mut Book<'_>) {
    for class in Class::ALL {
        let runs = book.at_each_load(Scene::new(Client::Flow, Mix::All(class)), "");
        let least_used = match class {
            Class::Chat | Class::Short => 0.99,
            Class::Reasoning => 0.97,
        };
        used(book, class.name(), &runs).at_least(least_used);
        refused(book, class.name(), &runs).at_most(1.0);
        highest(book, class.name(), &runs);
        shares_999(book, class, &runs);
    }
}

fn shares_999(book: &mut Book<'_>, class: Class, runs: &Runs) {
    match class {
        Class::Chat => {
            let share = most(runs, |run| run.tally.share_999());
            book.row("chat.share_999", share, LIMITS).at_most(1.2);
        }
        Class::Reasoning => {
            for (load, run) in runs {
                let name = format!("reasoning.share_999.{load}");
                let row = book.row(&name, run.tally.share_999(), LIMITS);
                if let Some(target) = by_load(*load, [2.5, 1.8, 1.45]) {
                    row.at_most(target);
                }
            }
        }
        Class::Short => {}
    }
}

fn streams(book: &mut Book<'_>) {
    for (class, target) in [(Class::Chat, 0.99), (Class::Reasoning, 0.96), (Class::Short, 0.98)] {
        let mut scene = Scene::new(Client::Flow, Mix::All(class));
        scene.speed = Speed::Spread;
        book.at_each_load(scene, "not seen");
        scene.setup.streamed = Some(500 * MILLI);
        let runs = book.at_each_load(scene, "seen");
        used(book, class.name(), &runs).at_least(target);
        refused(book, class.name(), &runs).at_most(1.0);
    }
}

fn mixed(book: &mut Book<'_>) {
    let runs = book.at_each_load(Scene::new(Client::Flow, Mix::Half), "");
    for (load, run) in &runs {
        let row = book.row(&format!("used.{load}"), run.used, SHARE);
        if let Some(target) = by_load(*load, [0.87, 0.94, 0.97]) {
            row.at_least(target);
        }
    }
    book.row("refused", most(&runs, |run| run.tally.refused_per_10_000()), PER_10_000).at_most(1.0);
}

fn requests(book: &mut Book<'_>) {
    for class in Class::ALL {
        let mut scene = Scene::new(Client::Flow, Mix::All(class));
        scene.requests = Some(BINDING);
        let runs = book.at_each_load(scene, "");
        let refused = most(&runs, |run| real(run.tally.refused_as_requests));
        book.row(&format!("{}.requests_refused", class.name()), refused, "requests").at_most(0.0);
        used(book, class.name(), &runs);
    }
}

fn bursts(book: &mut Book<'_>) {
    for class in Class::ALL {
        let mut scene = Scene::new(Client::Flow, Mix::All(class));
        scene.setup.arrivals = Arrivals::Bursts(3.0, 4 * 60 * SECOND);
        let runs = book.at_each_load(scene, "");
        let row = highest(book, class.name(), &runs);
        if class == Class::Chat {
            row.at_most(1.2);
        }
        refused(book, class.name(), &runs);
    }
}

fn arrivals(book: &mut Book<'_>) {
    for class in Class::ALL {
        for client in [Client::Hold, Client::Flow, Client::Oracle] {
            if client == Client::Hold && class == Class::Reasoning {
                // It admits a seventh of these: the line would only grow.
                continue;
            }
            let mut scene = Scene::new(client, Mix::All(class));
            scene.setup.arrivals = Arrivals::Share(0.8);
            // A line that grows has no wait of its own: it would be as long as the run.
            scene.setup.windows = Some(50);
            let runs = book.at_each_load(scene, "");
            let wait = most(&runs, |run| run.tally.wait_99());
            book.row(&format!("{}.{}.wait_99", class.name(), client.name()), wait, "s");
        }
    }
}

fn shared(book: &mut Book<'_>) {
    for class in Class::ALL {
        for (note, headers, target) in [("headers", true, 0.92), ("silent", false, 0.83)] {
            let mut scene = Scene::new(Client::Flow, Mix::All(class));
            scene.setup.neighbour = Some(0.3);
            scene.setup.headers = headers;
            let runs = book.at_each_load(scene, note);
            let name = format!("{}.{note}", class.name());
            let all =
                book.row(&format!("{name}.used"), least(&runs, |run| run.used + run.theirs), SHARE);
            if class != Class::Reasoning {
                all.at_least(target);
            }
            let refused = refused(book, &name, &runs);
            if class != Class::Reasoning {
                refused.at_most(10.0);
            }
        }
    }
}

fn smooth(book: &mut Book<'_>) {
    let shapes = shapes(1, Duration::from_nanos(WINDOW)).expect("a minute is a window");
    let names = shapes.map(|(name, _)| name);
    for (class, target) in [(Class::Chat, 0.92), (Class::Short, 0.97)] {
        let (mut runs, mut small) = (Runs::new(), Runs::new());
        for (place, name) in names.iter().enumerate() {
            let mut scene = Scene::new(Client::Smooth, Mix::All(class));
            scene.delay = SMOOTH_DELAY;
            scene.shape = Some(place);
            let these = book.at_each_load(scene, name);
            if name.contains("60") { small.extend(these) } else { runs.extend(these) }
        }
        used(book, class.name(), &runs).at_least(target);
        refused(book, class.name(), &runs).at_most(0.0);
        let name = format!("{}.small_buckets", class.name());
        used(book, &name, &small);
        refused(book, &name, &small);
    }
}

fn jitter(book: &mut Book<'_>) {
    for class in Class::ALL {
        let mut scene = Scene::new(Client::Flow, Mix::All(class));
        scene.jitter = 250 * MILLI;
        scene.delay = Limit::DEFAULT_DELAY;
        let runs = book.at_each_load(scene, "");
        used(book, class.name(), &runs).at_least(0.95);
        refused(book, class.name(), &runs).at_most(1.0);
    }
}

fn restart(book: &mut Book<'_>) {
    let (at, until) = (5 * WINDOW, 10 * WINDOW);
    for class in Class::ALL {
        let mut scene = Scene::new(Client::Flow, Mix::All(class));
        scene.setup.windows = Some(10);
        scene.setup.restart = Some(at);
        let runs = book.repeated(scene, REPEATS, "");
        let refused = most(&runs, |run| real(run.tally.refused_between(at, until)));
        let row = book.row(&format!("{}.refused", class.name()), refused, "calls");
        if class == Class::Chat {
            row.at_most(10.0);
        }
    }
}

fn cut(book: &mut Book<'_>) {
    let (from, to) = (5 * WINDOW, 15 * WINDOW);
    for class in Class::ALL {
        let mut scene = Scene::new(Client::Flow, Mix::All(class));
        scene.setup.windows = Some(20);
        scene.setup.cut = Some((from, to, 0.8));
        let runs = book.repeated(scene, REPEATS, "");
        let refused = most(&runs, |run| real(run.tally.refused_between(from, to)));
        let row = book.row(&format!("{}.refused", class.name()), refused, "calls");
        if class == Class::Chat {
            row.at_most(30.0);
        }
    }
}

fn bucket(book: &mut Book<'_>) {
    for class in Class::ALL {
        let runs = book.at_each_load(Scene::new(Client::Bucket, Mix::All(class)), "");
        used(book, class.name(), &runs);
        refused(book, class.name(), &runs);
        let ever = most(&runs, |run| run.tally.ever_refused_per_10_000());
        book.row(&format!("{}.ever_refused", class.name()), ever, PER_10_000);
        highest(book, class.name(), &runs);
    }
}

fn oracle(book: &mut Book<'_>) {
    for class in Class::ALL {
        let runs = book.at_each_load(Scene::new(Client::Oracle, Mix::All(class)), "");
        used(book, class.name(), &runs);
        highest(book, class.name(), &runs).at_most(1.0);
    }
}

fn used<'a>(book: &'a mut Book<'_>, name: &str, runs: &Runs) -> &'a mut Row {
    book.row(&format!("{name}.used"), least(runs, |run| run.used), SHARE)
}

fn refused<'a>(book: &'a mut Book<'_>, name: &str, runs: &Runs) -> &'a mut Row {
    let refused = most(runs, |run| run.tally.refused_per_10_000());
    book.row(&format!("{name}.refused"), refused, PER_10_000)
}

fn highest<'a>(book: &'a mut Book<'_>, name: &str, runs: &Runs) -> &'a mut Row {
    book.row(&format!("{name}.highest"), most(runs, |run| run.highest), LIMITS)
}

fn least(runs: &Runs, value: impl Fn(&Outcome) -> f64) -> f64 {
    runs.iter().map(|(_, run)| value(run)).fold(f64::INFINITY, f64::min)
}

fn most(runs: &Runs, value: impl Fn(&Outcome) -> f64) -> f64 {
    runs.iter().map(|(_, run)| value(run)).fold(f64::NEG_INFINITY, f64::max)
}

/// The target at 8, 32 and 128 calls in flight; none is set for others.
fn by_load(load: u64, targets: [f64; 3]) -> Option<f64> {
    let [few, some, many] = targets;
    match load {
        8 => Some(few),
        32 => Some(some),
        128 => Some(many),
        _ => None,
    }
}

/// Units.
const SHARE: &str = "share";
const PER_10_000: &str = "per 10,000";
const LIMITS: &str = "limits";

/// Requests a minute, where they bind: this share of the calls that the tokens would allow.
const BINDING: f64 = 0.95;

/// The delay bound of the limiter for servers that are not known, as it was measured.
const SMOOTH_DELAY: Duration = Duration::from_millis(200);

/// From how many seeds those cases are run in which a single incident is counted.
const REPEATS: u64 = 4;
