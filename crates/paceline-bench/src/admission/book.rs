//! Runs scenes one by one, shows each as a line, and keeps the rows.
//!
//! It knows no target. Invariant: every run is shown.

use super::scene::{Lab, Scene};
use super::tally::Outcome;
use crate::row::Row;

/// What is being measured, and what has been.
pub(super) struct Book<'a> {
    lab: Lab,
    loads: Vec<u64>,
    case: &'static str,
    rows: Vec<Row>,
    show: &'a mut dyn FnMut(&str),
}

impl<'a> Book<'a> {
    pub(super) fn new(lab: Lab, loads: Vec<u64>, show: &'a mut dyn FnMut(&str)) -> Self {
        show(HEAD);
        Self { lab, loads, case: "", rows: Vec::new(), show }
    }

    /// Begins a case: what follows is of it.
    pub(super) fn begin(&mut self, case: &'static str) {
        self.case = case;
    }

    /// Runs a scene at every load.
    pub(super) fn at_each_load(&mut self, scene: Scene, note: &str) -> Vec<(u64, Outcome)> {
        let loads = self.loads.clone();
        loads.into_iter().map(|load| (load, self.play(&Scene { load, ..scene }, note))).collect()
    }

    /// The same from other seeds too.
    pub(super) fn repeated(&mut self, scene: Scene, times: u64, note: &str) -> Vec<(u64, Outcome)> {
        let seed = self.lab.seed;
        let mut outcomes = Vec::new();
        for time in 0..times {
            self.lab.seed = seed.wrapping_add(time);
            outcomes.extend(self.at_each_load(scene, note));
        }
        self.lab.seed = seed;
        outcomes
    }

    /// Adds a row; its name comes after the name of the case.
    pub(super) fn row(&mut self, name: &str, value: f64, unit: &'static str) -> &mut Row {
        self.rows.push(Row::new(format!("{}.{name}", self.case), value, unit));
        self.rows.last_mut().expect("one was added")
    }

    pub(super) fn into_rows(self) -> Vec<Row> {
        self.rows
    }

    fn play(&mut self, scene: &Scene, note: &str) -> Outcome {
        let outcome = scene.play(&self.lab);
        let tally = &outcome.tally;
        (self.show)(&format!(
            "{:9} {:6} {:9} {:>4} {:24} {:6.3} {:6.3} {:8.2} {:7.0} {:7.3} {:7.3} {:7.1} {:9}",
            self.case,
            scene.client.name(),
            scene.mix.name(),
            scene.load,
            note,
            outcome.used,
            outcome.theirs,
            tally.refused_per_10_000(),
            tally.ever_refused_per_10_000(),
            outcome.highest,
            tally.share_999(),
            tally.wait_99(),
            tally.calls,
        ));
        outcome
    }
}

const HEAD: &str = "case      client mix       load note                      used  theirs  refused    ever highest   99.9%  wait99     calls";
