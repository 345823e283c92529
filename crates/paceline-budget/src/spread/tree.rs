//! What was seen, from all calls of a model down to those most alike.
//!
//! Every rung of a ladder begins with what the rung above it believes, and is moved by what it has
//! seen itself: the more it has seen, the less the rung above counts. What was cut off counts as
//! "at least so much" where the cut is not a part of what is asked (the posterior mean of a
//! beta-Stacy process, which is exact for both). Invariants: the number of rungs remembered is
//! bounded; older numbers fade.

mod saved;

use std::collections::BTreeMap;

use paceline_core::Tag;
use serde::{Deserialize, Serialize};

use super::distribution::{Distribution, chances, moments, quantile};
use super::grid::{CELLS, MOST, cell};
use super::level::{Chances, Levels};
use super::logs::Logs;

/// What calls are told apart by, from the general to the specific.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Ladder {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) effort: Option<Tag>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) tag: Option<Tag>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) cap: Option<u64>,
    /// Tokens of the prompt.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) prompt: Option<u64>,
}

/// What a tree is of.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Kind {
    /// Before anything was seen: this in the middle.
    pub(crate) typical: f64,
    /// And so far about it, in natural logarithms.
    pub(crate) deviation: f64,
}

/// A number that was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) number: u64,
    /// The cap cut it off: without it, it would have been at least this.
    pub(crate) cut: bool,
}

/// Below the root: effort, tag, cap, and the prompt to an octave and to a quarter of one.
const DEPTHS: usize = 5;
/// From this rung on the cap is a part of what is asked, so that what it cuts off is whole.
const CAPPED: usize = 3;
/// How many numbers of its own weigh as much as the rung above, for the root and every rung.
const TRUST: [f64; DEPTHS + 1] = [4.0, 2.0, 2.0, 2.0, 6.0, 10.0];
/// How many of the last numbers count at most.
const MEMORY: f32 = 1_000.0;
/// How many rungs are remembered; the one unused longest makes room.
const MAX_NODES: usize = 256;
/// What weighs less is forgotten.
const LEAST_WEIGHT: f32 = 1e-3;

/// One rung: what was seen there, cell by cell.
#[derive(Clone, Debug, Default, PartialEq)]
struct Node {
    /// Cell, weight of what ended there, weight of what was cut off there; in the order of cells.
    cells: Vec<(u16, f32, f32)>,
    /// How many numbers there were.
    count: u64,
    /// How many of them were cut off.
    cuts: u64,
    levels: Levels,
    used: u64,
}

/// Numbers that were seen, by ladder.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "saved::SavedTree", into = "saved::SavedTree")]
pub(crate) struct Tree {
    logs: Logs,
    root: Node,
    nodes: BTreeMap<(u8, Ladder), Node>,
    clock: u64,
    /// The chances of the logarithms alone, and how many numbers they know of.
    start: Start,
}

#[derive(Clone, Debug, Default)]
struct Start {
    hazards: Vec<f64>,
    count: u64,
}

/// It is made of the rest.
impl PartialEq for Start {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Tree {
    pub(crate) fn new(kind: Kind) -> Self {
        let mut tree = Self {
            logs: Logs::new(kind.typical, kind.deviation),
            root: Node::default(),
            nodes: BTreeMap::new(),
            clock: 0,
            start: Start::default(),
        };
        tree.begin_anew();
        tree
    }

    /// How many numbers it has seen.
    pub(crate) const fn count(&self) -> u64 {
        self.root.count
    }

    /// What is known of the next number.
    pub(crate) fn predict(&self, ladder: &Ladder) -> Distribution {
        let both = [Unseen::None, Unseen::OneAtEachEnd];
        let (hazards, levels) = self.climb_down(ladder, both, CELLS);
        let [seen, careful] = above(&hazards);
        Distribution::new(seen.to_vec(), careful.to_vec(), levels)
    }

    /// Its mean and variance, and a quantile, where it can't pass a bound; without room on the heap, as every
    /// call asks for it.
    pub(crate) fn summary(&self, ladder: &Ladder, bound: u64, level: f64) -> (f64, f64, u64) {
        let both = [Unseen::None, Unseen::OneAtEachEnd];
        let (hazards, levels) = self.climb_down(ladder, both, CELLS);
        let [seen, careful] = above(&hazards);
        let most = bound.min(MOST);
        let (mean, variance) = moments(&seen, 0, most);
        (mean, variance, quantile(&careful, levels.moved(level)).min(most))
    }

    /// Its quantiles alone, at these levels: half of the work.
    pub(crate) fn quantiles<const LEVELS: usize>(
        &self,
        ladder: &Ladder,
        at: [f64; LEVELS],
    ) -> [u64; LEVELS] {
        let (hazards, levels) = self.climb_down(ladder, [Unseen::OneAtEachEnd], CELLS);
        let [careful] = above(&hazards);
        at.map(|level| quantile(&careful, levels.moved(level)).min(MOST))
    }

    /// The chances to end in each cell once it is reached, by what is thought unseen, and the levels that
    /// go with them. They are there for so many cells at least; those behind may be zero.
    fn climb_down<const SIDES: usize>(
        &self,
        ladder: &Ladder,
        unseen: [Unseen; SIDES],
        cells: usize,
    ) -> ([[f64; SIDES]; CELLS], Levels) {
        let mut rungs: [Option<(f64, &Node)>; DEPTHS + 1] = [None; DEPTHS + 1];
        rungs[0] = Some((TRUST[0], &self.root));
        let (mut last, mut levels) = (&self.root, self.root.levels);
        for (depth, trust) in TRUST.into_iter().enumerate().skip(1) {
            let Some(node) = self.nodes.get(&(depth as u8, ladder.to(depth))) else { continue };
            if depth <= CAPPED && node.count >= OWN_LEVELS {
                levels = node.levels;
            }
            // Who has seen the same as the rung above has nothing to add.
            if node.count != last.count || node.cuts != last.cuts {
                rungs[depth] = Some((trust, node));
                last = node;
            }
        }
        // What a rung thinks of shorter ones depends on all up to the shortest that it has seen.
        let shortest = rungs.iter().flatten().filter_map(|(_, node)| node.ends());
        let shortest = shortest.map(|(shortest, _)| shortest).max().unwrap_or(0);
        let cells = cells.max(shortest + 1);
        let mut hazards = [[0.0; SIDES]; CELLS];
        for (hazard, start) in hazards.iter_mut().zip(&self.start.hazards).take(cells) {
            *hazard = [*start; SIDES];
        }
        for (trust, node) in rungs.into_iter().flatten() {
            node.update(trust, unseen, &mut hazards[..cells]);
        }
        (hazards, levels)
    }

    /// Learns a number.
    pub(crate) fn learn(&mut self, ladder: &Ladder, seen: Seen) {
        self.clock = self.clock.saturating_add(1);
        // As far as the cell after that of the number.
        let cells = (cell(seen.number) + 2).min(CELLS);
        let (hazards, _) = self.climb_down(ladder, [Unseen::OneAtEachEnd], cells);
        let [above] = above(&hazards);
        let chances = chances(&above, seen);
        self.logs.see(seen.number);
        let parents = self.root.levels;
        let mut lesson = Lesson { seen, chances, last: None };
        self.root.learn(0, &mut lesson);
        for depth in 1..=DEPTHS {
            let key = (depth as u8, ladder.to(depth));
            if let Some(node) = self.nodes.get_mut(&key) {
                node.used = self.clock;
                node.learn(depth, &mut lesson);
                continue;
            }
            self.make_room();
            let mut node = Node { levels: parents, used: self.clock, ..Node::default() };
            node.learn(depth, &mut lesson);
            self.nodes.insert(key, node);
        }
        let next = self.start.count.saturating_add(1 + self.start.count / 8);
        if self.root.count >= next {
            self.begin_anew();
        }
    }

    /// Reckons anew what the logarithms alone say; it is costly, and changes less and less.
    fn begin_anew(&mut self) {
        let above = self.logs.above();
        self.start.hazards = above
            .windows(2)
            .map(|ends| if ends[0] > 1e-12 { 1.0 - ends[1] / ends[0] } else { 1.0 })
            .collect();
        // Once the logarithms fade, the chances follow them at least this often.
        self.start.count = self.root.count;
    }

    fn make_room(&mut self) {
        if self.nodes.len() < MAX_NODES {
            return;
        }
        let oldest = self.nodes.iter().min_by_key(|(_, node)| node.used);
        if let Some(key) = oldest.map(|(key, _)| key.clone()) {
            self.nodes.remove(&key);
        }
    }
}

/// A number, and what was thought of it.
struct Lesson {
    seen: Seen,
    chances: Chances,
    /// Levels that learned it, as they were before and after, and whether they took it as cut off.
    last: Option<(Levels, Levels, bool)>,
}

impl Lesson {
    /// Where calls are all of one kind, every rung has the same levels: then they are reckoned once.
    fn teach(&mut self, levels: &mut Levels, is_cut: bool) {
        match self.last {
            Some((before, after, cut)) if (before, cut) == (*levels, is_cut) => *levels = after,
            _ => {
                let before = *levels;
                levels.learn(&if is_cut { self.chances.of_cut() } else { self.chances });
                self.last = Some((before, *levels, is_cut));
            }
        }
    }
}

/// Numbers that were not seen but might have been.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unseen {
    /// For means: only what was seen counts.
    None,
    /// For quantiles: among n + 1 numbers the next is the longest once in n + 1 times, and as often
    /// the shortest, so there is one longer than all that were seen and one shorter.
    OneAtEachEnd,
}

/// Where the rung above believes less than this of what is shorter, there is no shorter one.
const LEAST_SHARE: f64 = 1e-6;

/// A rung has levels of its own from so many numbers on; before, those of all calls are better.
const OWN_LEVELS: u64 = 20;

/// The chances to reach each cell, and the one after the last, of the chances to end in each once it is
/// reached.
fn above<const SIDES: usize>(hazards: &[[f64; SIDES]; CELLS]) -> [[f64; CELLS + 1]; SIDES] {
    let mut left = [1.0; SIDES];
    let mut above = [[0.0; CELLS + 1]; SIDES];
    for (cell, hazard) in hazards.iter().enumerate() {
        if left.iter().all(|left| *left < LEAST_CHANCE) {
            break;
        }
        for side in 0..SIDES {
            above[side][cell] = left[side];
            left[side] *= 1.0 - hazard[side];
            if left[side] > 0.0 && left[side] < LEAST_CHANCE {
                none(&mut left[side]);
            }
        }
    }
    // Nothing is behind the last one.
    above
}

/// A smaller chance is none: no quantile is asked for near it, and processors reckon a hundred times as long with
/// the smallest numbers.
const LEAST_CHANCE: f64 = 1e-40;

#[cold]
fn none(chance: &mut f64) {
    *chance = 0.0;
}

impl Node {
    /// Moves what the rung above believes by what was seen here, each side by what it thinks unseen.
    fn update<const SIDES: usize>(
        &self,
        trust: f64,
        unseen: [Unseen; SIDES],
        hazards: &mut [[f64; SIDES]],
    ) {
        let Some((shortest, longest)) = self.ends() else { return };
        let seen = self.cells.iter().map(|(_, ended, cut)| f64::from(*ended) + f64::from(*cut));
        let seen: f64 = seen.sum();
        // How much of what the rung above believes lies below all that was seen.
        let mut longer = [1.0; SIDES];
        for hazard in hazards.iter().take(shortest) {
            for (longer, hazard) in longer.iter_mut().zip(hazard) {
                *longer *= 1.0 - hazard;
            }
        }
        let (mut at_risk, mut share) = ([seen; SIDES], [0.0; SIDES]);
        for side in 0..SIDES {
            if unseen[side] == Unseen::OneAtEachEnd {
                let shorter = 1.0 - longer[side];
                at_risk[side] += if shorter > LEAST_SHARE { 2.0 } else { 1.0 };
                share[side] = if shorter > LEAST_SHARE { 1.0 / shorter } else { 0.0 };
            }
        }
        let (mut left, mut cells, mut next) =
            ([1.0; SIDES], self.cells.iter().peekable(), shortest);
        // Beyond what was seen here, what the rung above believes stands.
        for (index, hazards) in hazards.iter_mut().enumerate().take(longest + 1) {
            let (mut ended, mut cut) = (0.0, 0.0);
            if index == next {
                (ended, cut) = cells
                    .next()
                    .map_or((0.0, 0.0), |(_, ended, cut)| (f64::from(*ended), f64::from(*cut)));
                next = cells.peek().map_or(CELLS, |(cell, ..)| usize::from(*cell));
            }
            if index == shortest {
                // The shorter one has ended by now.
                share = [0.0; SIDES];
            }
            for side in 0..SIDES {
                let (believed, here) = (hazards[side], left[side]);
                let ended = ended + here * believed * share[side];
                let weight = trust * here + at_risk[side];
                if weight > 1e-9 {
                    hazards[side] = ((trust * here * believed + ended) / weight).clamp(0.0, 1.0);
                }
                left[side] = here * (1.0 - believed);
                if left[side] > 0.0 && left[side] < LEAST_CHANCE {
                    none(&mut left[side]);
                }
                at_risk[side] = (at_risk[side] - ended - cut).max(0.0);
            }
        }
    }

    /// The lowest and the highest cell in which anything was seen.
    fn ends(&self) -> Option<(usize, usize)> {
        let ((first, ..), (last, ..)) = (self.cells.first()?, self.cells.last()?);
        Some((usize::from(*first), usize::from(*last)))
    }

    fn learn(&mut self, depth: usize, lesson: &mut Lesson) {
        let seen = lesson.seen;
        let is_cut = seen.cut && depth < CAPPED;
        if depth <= CAPPED {
            lesson.teach(&mut self.levels, is_cut);
        }
        let fade = 1.0 - 1.0 / MEMORY;
        for (_, ended, cut) in &mut self.cells {
            *ended *= fade;
            *cut *= fade;
        }
        self.cells.retain(|(_, ended, cut)| ended + cut >= LEAST_WEIGHT);
        let cell = cell(seen.number) as u16;
        let place = self.cells.partition_point(|(other, ..)| *other < cell);
        if self.cells.get(place).is_none_or(|(other, ..)| *other != cell) {
            self.cells.insert(place, (cell, 0.0, 0.0));
        }
        let (_, ended, cut) = &mut self.cells[place];
        *(if is_cut { cut } else { ended }) += 1.0;
        self.count = self.count.saturating_add(1);
        self.cuts = self.cuts.saturating_add(u64::from(is_cut));
    }
}

impl Ladder {
    /// As far as a rung tells calls apart.
    fn to(&self, depth: usize) -> Self {
        let prompt = self.prompt.unwrap_or(0).max(1);
        Self {
            effort: self.effort.clone(),
            tag: if depth >= 2 { self.tag.clone() } else { None },
            cap: if depth >= CAPPED { self.cap } else { None },
            prompt: match depth {
                4 => Some(u64::from(prompt.ilog2())),
                5 => Some(quarter_octave(prompt)),
                _ => None,
            },
        }
    }
}

/// Four to a doubling, in whole numbers.
fn quarter_octave(prompt: u64) -> u64 {
    let octave = prompt.ilog2();
    let rest = if octave >= 2 { prompt >> (octave - 2) & 3 } else { 0 };
    u64::from(octave) * 4 + rest
}

#[cfg(test)]
mod tests {
    use super::*;
    /// What is asked of the first cells alone is what is asked of all.
    #[test]
    fn the_chances_of_a_number_do_not_depend_on_the_cells_behind_it() {
        let mut tree = Tree::new(Kind { typical: 300.0, deviation: 1.0 });
        let ladder = |tag: &str| Ladder { tag: Some(Tag::new(tag)), ..Ladder::default() };
        let numbers = [40, 900, 7, 5_000, 300, 12, 100_000, 1, 70];
        for (index, number) in numbers.into_iter().cycle().take(200).enumerate() {
            let ladder = ladder(if index % 3 == 0 { "a" } else { "b" });
            let seen = Seen { number: number * (1 + index as u64 % 7), cut: index % 5 == 0 };
            let cells = (cell(seen.number) + 2).min(CELLS);
            let (all, _) = tree.climb_down(&ladder, [Unseen::OneAtEachEnd], CELLS);
            let (few, _) = tree.climb_down(&ladder, [Unseen::OneAtEachEnd], cells);
            let ([few], [all]) = (above(&few), above(&all));
            let (few, whole) = (chances(&few, seen), chances(&all, seen));
            assert_eq!(format!("{few:?}"), format!("{whole:?}"));
            // And two sides at once are each what it is alone.
            let (both, _) = tree.climb_down(&ladder, [Unseen::None, Unseen::OneAtEachEnd], CELLS);
            assert_eq!(above(&both)[1], all);
            tree.learn(&ladder, seen);
        }
    }
}
