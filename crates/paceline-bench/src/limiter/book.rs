//! Turns measurements into rows, and shows each as a line of a table.
//!
//! It knows no target. Invariant: whoever did not decide as it should was not measured.

use super::timer::{Side, Turn, median, median_ratio, middle, rounds};
use super::waiters::{Crowd, Drained};
use crate::row::Row;

/// What has been measured so far.
pub(super) struct Book<'a> {
    rounds: u32,
    rows: Vec<Row>,
    show: &'a mut dyn FnMut(&str),
}

/// One decision beside its peers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Comparison<'a> {
    /// The name of the row.
    pub(super) name: &'a str,
    /// The most that our decision may cost, as a ratio to the first peer's.
    pub(super) target: Option<f64>,
    /// The most that settling may cost, as a ratio to the first peer's decision.
    pub(super) settle: Option<f64>,
    /// Whether every decision grants; otherwise every one refuses.
    pub(super) grants: bool,
}

impl<'a> Comparison<'a> {
    /// Of decisions that are granted, and only reported.
    pub(super) const fn new(name: &'a str) -> Self {
        Self { name, target: None, settle: None, grants: true }
    }

    /// Ours may cost as much as this ratio to the first peer.
    pub(super) const fn at_most(mut self, target: f64) -> Self {
        self.target = Some(target);
        self
    }

    /// And settling as much as this.
    pub(super) const fn settles_at_most(mut self, target: f64) -> Self {
        self.settle = Some(target);
        self
    }

    /// Of decisions that are refused.
    pub(super) const fn refused(mut self) -> Self {
        self.grants = false;
        self
    }
}

/// A side and its turns, of which there are none if one of them was void.
struct Measured<'a> {
    side: &'a Side,
    turns: Vec<Turn>,
}

impl Measured<'_> {
    fn ns(&self, figure: fn(&Turn) -> f64) -> f64 {
        median(&self.turns, figure)
    }
}

impl<'a> Book<'a> {
    /// With as many rounds for each comparison.
    pub(super) fn new(rounds: u32, show: &'a mut dyn FnMut(&str)) -> Self {
        show(&line("", "ours", "ratio", "target", "beside"));
        Self { rounds, rows: Vec::new(), show }
    }

    /// Measures our side, where there is one, and its peers in turns. The first peer is what the
    /// targets are a ratio to.
    pub(super) fn compare(
        &mut self,
        comparison: Comparison<'_>,
        ours: Option<Side>,
        peers: Vec<Side>,
    ) {
        let is_there = ours.is_some();
        let mut sides: Vec<_> = ours.into_iter().chain(peers).collect();
        let turns = rounds(&mut sides, self.rounds);
        let expected = if comparison.grants { 1.0 } else { 0.0 };
        let mut measured: Vec<_> = sides
            .iter()
            .zip(turns)
            .map(|(side, turns)| {
                let said: Vec<_> = turns.iter().filter(|turn| !turn.is_void()).collect();
                let void = said.iter().any(|turn| turn.granted != expected)
                    || said.len() * 2 < turns.len();
                if void {
                    (self.show)(&format!("{}: {} is void", comparison.name, side.title));
                }
                Measured { side, turns: if void { Vec::new() } else { turns } }
            })
            .collect();
        let peers = measured.split_off(usize::from(is_there));
        let ours = measured.pop();
        let decision: fn(&Turn) -> f64 = |turn| turn.acquire_ns;
        self.decision(comparison.name, comparison.target, decision, ours.as_ref(), &peers);
        let settles = ours.as_ref().map_or(comparison.settle.is_some(), |ours| ours.side.settles);
        if settles && comparison.grants {
            let name = format!("{}/settle", comparison.name);
            let settling: fn(&Turn) -> f64 = |turn| turn.settle_ns;
            self.decision(&name, comparison.settle, settling, ours.as_ref(), &peers);
        }
    }

    /// The rows of one figure of ours, beside the first peer's decision and the same figure of all
    /// peers that have it.
    fn decision(
        &mut self,
        name: &str,
        target: Option<f64>,
        figure: fn(&Turn) -> f64,
        ours: Option<&Measured<'_>>,
        peers: &[Measured<'_>],
    ) {
        let is_settling = name.ends_with("/settle");
        let mut shown = Vec::new();
        let mut ratio = f64::NAN;
        let mut beside = Vec::new();
        for (index, peer) in peers.iter().enumerate() {
            let named = format!("{name}/beside/{}", peer.side.name);
            let figure_of_peer = if is_settling { |turn: &Turn| turn.settle_ns } else { figure };
            let has_it = !is_settling || peer.side.settles;
            if index == 0 {
                ratio =
                    ours.map_or(f64::NAN, |ours| median_ratio(&ours.turns, figure, &peer.turns));
                let mut row = Row::new(name, ratio, "ratio").beside(&peer.side.title);
                if let Some(target) = target {
                    row.at_most(target);
                }
                self.rows.push(row);
            }
            if !has_it {
                continue;
            }
            if let (Some(ours), 1..) = (ours, index) {
                let against = ours.turns.iter().zip(&peer.turns);
                let ratios = against.map(|(our, their)| figure(our) / figure_of_peer(their));
                let ratio = middle(ratios.collect());
                beside.push(Row::new(&named, ratio, "ratio").beside(&peer.side.title));
            }
            let ns = peer.ns(figure_of_peer);
            shown.push(format!("{} {}", peer.side.name, number(ns, 1)));
            beside.push(Row::new(format!("{named}/ns"), ns, "ns").beside(&peer.side.title));
        }
        let ns = ours.map_or(f64::NAN, |ours| ours.ns(figure));
        if ours.is_some() {
            self.rows.push(Row::new(format!("{name}/ns"), ns, "ns"));
        }
        self.rows.extend(beside);
        (self.show)(&line(
            name,
            &number(ns, 1),
            &number(ratio, 2),
            &target.map_or_else(String::new, |target| format!("<= {target}")),
            &shown.join(", "),
        ));
    }

    /// Lets crowds through in turns: ours, where there is one, and its peers, of which CPU time is
    /// held against the first.
    pub(super) fn crowds(
        &mut self,
        name: &str,
        (most_polls, most_cpu): (f64, f64),
        mut ours: Option<Crowd>,
        mut peers: Vec<Crowd>,
    ) {
        let mut our_turns = Vec::new();
        let mut turns: Vec<Vec<Drained>> = vec![Vec::new(); peers.len()];
        for _ in 0..CROWD_ROUNDS {
            our_turns.extend(ours.as_mut().map(Crowd::drain));
            for (peer, turns) in peers.iter_mut().zip(&mut turns) {
                turns.push(peer.drain());
            }
        }
        let polls = of(&our_turns, |turn| turn.polls);
        let mut row = Row::new(format!("{name}/polls"), polls, "polls");
        row.at_most(most_polls);
        self.rows.push(row);
        let mut shown = Vec::new();
        let mut first_ratio = None;
        for (peer, turns) in peers.iter().zip(&turns) {
            let ratios = our_turns.iter().zip(turns).map(|(our, their)| our.cpu_ms / their.cpu_ms);
            let ratio = middle(ratios.collect());
            let row = match first_ratio {
                None => {
                    first_ratio = Some(ratio);
                    let mut row = Row::new(format!("{name}/cpu"), ratio, "ratio");
                    row.at_most(most_cpu);
                    row
                }
                Some(_) => Row::new(format!("{name}/cpu/beside/{}", peer.name), ratio, "ratio"),
            };
            self.rows.push(row.beside(&peer.title));
            shown.push(self.crowd(&format!("{name}/beside/{}", peer.name), peer, turns));
        }
        if let Some(ours) = &ours {
            shown.insert(0, self.crowd(name, ours, &our_turns));
        }
        let target = format!("<= {most_cpu}");
        let polls = format!("{} p", number(polls, 2));
        let ratio = number(first_ratio.unwrap_or(f64::NAN), 2);
        (self.show)(&line(name, &polls, &ratio, &target, &shown.join(", ")));
    }

    /// The rows of one crowd; what it came to, for people.
    fn crowd(&mut self, name: &str, crowd: &Crowd, turns: &[Drained]) -> String {
        let polls = of(turns, |turn| turn.polls);
        let cpu = of(turns, |turn| turn.cpu_ms);
        let wall = of(turns, |turn| turn.wall_s);
        if crowd.name != "ours" {
            let row = Row::new(format!("{name}/polls"), polls, "polls").beside(&crowd.title);
            self.rows.push(row);
        }
        self.rows.push(Row::new(format!("{name}/cpu/ms"), cpu, "ms"));
        self.rows.push(Row::new(format!("{name}/wall"), wall, "s"));
        format!("{} {polls:.1} polls {cpu:.1} ms CPU {wall:.2} s", crowd.name)
    }

    /// A row of another kind, shown as it is.
    pub(super) fn row(&mut self, row: Row) {
        (self.show)(&line(row.name(), &number(row.value(), 4), "", &row.held_to(), row.unit()));
        self.rows.push(row);
    }

    /// Our decision in ns, held to a time; not a number where it is not there.
    pub(super) fn time(&mut self, name: &str, most_ns: f64, ours: Option<Side>) {
        let mut sides: Vec<_> = ours.into_iter().collect();
        let turns = rounds(&mut sides, self.rounds);
        let granted = |turns: &&Vec<Turn>| turns.iter().all(|turn| turn.granted == 1.0);
        let turns = turns.first().filter(granted);
        let ns = turns.map_or(f64::NAN, |turns| median(turns, |turn| turn.acquire_ns));
        let mut row = Row::new(name, ns, "ns");
        row.at_most(most_ns);
        self.row(row);
    }

    pub(super) fn into_rows(self) -> Vec<Row> {
        self.rows
    }
}

/// How often a crowd is let through; it takes a second each time.
const CROWD_ROUNDS: usize = 5;

fn of(turns: &[Drained], figure: fn(&Drained) -> f64) -> f64 {
    middle(turns.iter().map(figure).collect())
}

fn line(name: &str, ours: &str, ratio: &str, target: &str, beside: &str) -> String {
    let line = format!("{name:<38} {ours:>9} {ratio:>7} {target:>8}  {beside}");
    line.trim_end().to_owned()
}

fn number(value: f64, decimals: usize) -> String {
    if value.is_finite() { format!("{value:.decimals$}") } else { "-".to_owned() }
}
