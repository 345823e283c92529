//! Every way to make one expectation of a scenario false.
//!
//! What holds can't be told from what is never checked by looking at it: so each expectation of
//! the corpus is changed in turn, and the runner has to see each change.

use std::time::Duration;

use paceline_core::Dimension;

use super::format::{Outcome, Range, Scenario, Step, Until};
use super::words::{Counted, Span};

/// Makes one expectation of a step false.
type Edit<'a> = &'a dyn Fn(&mut Step);

/// The scenario, each time with one expectation that is false, and what was changed.
pub(crate) fn falsified(scenario: &Scenario) -> Vec<(String, Scenario)> {
    let mut all = Vec::new();
    for (number, step) in scenario.steps.iter().enumerate() {
        for (what, changed) in of_step(step) {
            let mut other = scenario.clone();
            other.steps[number] = changed;
            all.push((format!("step {}: {what}", number + 1), other));
        }
    }
    all
}

fn of_step(step: &Step) -> Vec<(String, Step)> {
    let mut all = Vec::new();
    let mut change = |what: &str, edit: Edit<'_>| {
        let mut changed = step.clone();
        edit(&mut changed);
        all.push((what.to_owned(), changed));
    };
    if let Some(expected) = step.expect {
        let other = match expected {
            Outcome::Admitted => Outcome::Never,
            Outcome::Waits | Outcome::Never => Outcome::Admitted,
            Outcome::Exhausted => Outcome::Never,
            Outcome::Deadline | Outcome::QueueFull => Outcome::Exhausted,
        };
        change("expect", &|step| step.expect = Some(other));
    }
    if let Some(range) = step.within {
        change("within, later", &|step| step.within = Some(later(range)));
        if let Some(earlier) = earlier(range) {
            change("within, earlier", &|step| step.within = Some(earlier));
        }
    }
    match step.until {
        Some(Until::Range(range)) => {
            change("until, later", &|step| step.until = Some(Until::Range(later(range))));
            if let Some(earlier) = earlier(range) {
                change("until, earlier", &|step| step.until = Some(Until::Range(earlier)));
            }
        }
        Some(Until::Unknown(_)) => {
            let far = Range(Span(Duration::ZERO), Span(Duration::from_secs(1 << 30)));
            change("until, known", &|step| step.until = Some(Until::Range(far)));
        }
        None => {}
    }
    if let Some(Counted(by)) = step.by {
        let other = if by == Dimension::Money { Dimension::Requests } else { Dimension::Money };
        change("by", &|step| step.by = Some(Counted(other)));
    }
    if let Some(admitted) = step.admitted {
        change("admitted, one more", &|step| step.admitted = Some(admitted + 1));
    }
    if let Some(granted) = &step.granted {
        let mut more = granted.clone();
        more.push("nobody".to_owned());
        change("granted, one more", &|step| step.granted = Some(more.clone()));
        if granted.len() > 1 {
            let reversed: Vec<_> = granted.iter().rev().cloned().collect();
            change("granted, reversed", &|step| step.granted = Some(reversed.clone()));
        }
    }
    counts(step, &mut change);
    all
}

fn counts(step: &Step, change: &mut dyn FnMut(&str, Edit<'_>)) {
    if let Some(waiting) = step.waiting {
        change("waiting", &|step| step.waiting = Some(waiting + 1));
    }
    if let Some(in_flight) = step.in_flight {
        change("in_flight", &|step| step.in_flight = Some(in_flight + 1));
    }
    for (place, counts) in step.limits.iter().enumerate() {
        if let Some(used) = counts.used {
            change("used", &|step| step.limits[place].used = Some(used + 1));
        }
        if let Some(held) = counts.held {
            change("held", &|step| step.limits[place].held = Some(held + 1));
        }
        if let Some(free) = counts.free {
            change("free", &|step| step.limits[place].free = Some(free + 1));
        }
    }
}

/// As long, and wholly behind it.
fn later(Range(from, to): Range) -> Range {
    let gap = to.0 + STEP;
    Range(Span(gap), Span(gap + (to.0 - from.0)))
}

/// From the start to just before it.
fn earlier(Range(from, _): Range) -> Option<Range> {
    let before = from.0.checked_sub(Duration::from_nanos(1))?;
    Some(Range(Span(Duration::ZERO), Span(before)))
}

/// More than any timer is late.
const STEP: Duration = Duration::from_millis(10);
