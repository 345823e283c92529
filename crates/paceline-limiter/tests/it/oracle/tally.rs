//! What was seen in a run, added up.

use std::fmt;

use super::server::Name;

/// Counts of one run.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally {
    pub(crate) worlds: u64,
    pub(crate) steps: u64,
    pub(crate) admissions: u64,
    pub(crate) refusals: u64,
    pub(crate) never: u64,
    pub(crate) settled: u64,
    pub(crate) cancelled: u64,
    pub(crate) changes: u64,
    pub(crate) leaps: u64,
    pub(crate) steps_back: u64,
    pub(crate) restarts: u64,
    pub(crate) compared: u64,
    pub(crate) waited: u64,
    pub(crate) judged: u64,
    /// Windows above L under Flow, and intervals beyond L T/W + 2 L + one call.
    pub(crate) flow_above: u64,
    pub(crate) flow_beyond: u64,
    shapes: [(u64, u64); Name::ALL.len()],
    pub(crate) violations: Vec<String>,
}

impl Tally {
    pub(crate) fn asked(&mut self, shape: Name) {
        self.shapes[shape as usize].0 += 1;
    }

    pub(crate) fn refused(&mut self, shape: Name) {
        self.shapes[shape as usize].1 += 1;
    }

    pub(crate) fn add(&mut self, other: &mut Self) {
        self.worlds += other.worlds;
        self.steps += other.steps;
        self.admissions += other.admissions;
        self.refusals += other.refusals;
        self.never += other.never;
        self.settled += other.settled;
        self.cancelled += other.cancelled;
        self.changes += other.changes;
        self.leaps += other.leaps;
        self.steps_back += other.steps_back;
        self.restarts += other.restarts;
        self.compared += other.compared;
        self.waited += other.waited;
        self.judged += other.judged;
        self.flow_above += other.flow_above;
        self.flow_beyond += other.flow_beyond;
        for (sum, (asked, refused)) in self.shapes.iter_mut().zip(other.shapes) {
            *sum = (sum.0 + asked, sum.1 + refused);
        }
        self.violations.append(&mut other.violations);
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} steps in {} worlds: {} admissions, {} refusals ({} never), {} settled, {} cancelled",
            self.steps,
            self.worlds,
            self.admissions,
            self.refusals,
            self.never,
            self.settled,
            self.cancelled
        )?;
        writeln!(
            f,
            "  {} limits changed, {} restarts, {} clock steps back, {} leaps; S2 compared {} times, \
             L1 waited for {} times",
            self.changes, self.restarts, self.steps_back, self.leaps, self.compared, self.waited
        )?;
        write!(f, "  judged by servers {} times; refused where nothing is claimed:", self.judged)?;
        for (name, (asked, refused)) in Name::ALL.iter().zip(self.shapes) {
            if *name != Name::Flow {
                write!(f, " {name:?} {refused}/{asked}")?;
            }
        }
        let (asked, refused) = self.shapes[Name::Flow as usize];
        writeln!(f)?;
        writeln!(
            f,
            "  S1f: {} windows above L, {} refusals of {asked} calls, {} settlements beyond \
             L T/W + 2 L + one call",
            self.flow_above, refused, self.flow_beyond
        )?;
        write!(f, "  violations: {}", self.violations.len())
    }
}
