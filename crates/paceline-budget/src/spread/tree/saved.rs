//! A tree as it is saved: short, and read again only if it can have been learned.
//!
//! What fits into a bound on its length is saved, the rungs that saw most first: the rest is learned
//! again. Invariant: what is read has counts that no later number overflows, and rungs that a ladder
//! can have.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{CAPPED, CELLS, DEPTHS, Ladder, Levels, Logs, MAX_NODES, Node, Start, Tree};

/// A tree as it is saved.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SavedTree {
    version: u32,
    logs: Logs,
    root: SavedNode,
    /// Those of which nothing is said saw the same as the rung above.
    nodes: Vec<(u8, Ladder, Option<SavedNode>)>,
    clock: u64,
}

/// A rung as it is saved: cells by how many they are after the one before, weights in tenths, one
/// after the other, so that it is short.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SavedNode {
    count: u64,
    #[serde(default, skip_serializing_if = "is_default")]
    cuts: u64,
    used: u64,
    #[serde(default, skip_serializing_if = "is_default")]
    levels: Levels,
    /// What ended there.
    ended: Vec<u32>,
    /// What was cut off there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    cut: Vec<u32>,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// The form in which a tree is saved; another is refused.
const VERSION: u32 = 2;
/// How many bytes a saved tree has at most as JSON, but for the root.
const MOST_BYTES: usize = 9_000;
/// What a rung takes beside its cells and names, and what a cell takes.
const BYTES_OF_RUNG: usize = 150;
const BYTES_OF_CELL: usize = 6;
/// What a rung takes that saw the same as the one above.
const BYTES_OF_SAME: usize = 50;
/// Counts beyond this are none that were counted; floating point still tells them apart.
const MOST_COUNTED: u64 = 1 << 53;

/// Why a saved tree can't be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum NotSaved {
    #[error("lengths and times are saved in form {0}, and this version reads form {VERSION}")]
    Version(u32),
    #[error("saved lengths or times are no numbers that can have been seen")]
    Numbers,
}

impl From<Tree> for SavedTree {
    fn from(tree: Tree) -> Self {
        let mut nodes: Vec<_> = tree.nodes.iter().collect();
        // The rung above has seen as much at least, so it comes first.
        nodes.sort_by_key(|((depth, _), node)| (std::cmp::Reverse(node.count), *depth));
        let mut left = MOST_BYTES;
        let mut saved = BTreeMap::new();
        for ((depth, ladder), node) in nodes {
            let above = match ladder.above(*depth) {
                (0, _) => Some(&tree.root),
                above => tree.nodes.get(&above).filter(|_| saved.contains_key(&above)),
            };
            let is_same = above.is_some_and(|above| node.saw_the_same_as(above));
            let names = [&ladder.effort, &ladder.tag].into_iter().flatten();
            let names: usize = names.map(|name| name.as_str().len()).sum();
            let own = match is_same {
                true => BYTES_OF_SAME,
                false => BYTES_OF_RUNG + BYTES_OF_CELL * node.cells.len(),
            };
            let Some(rest) = left.checked_sub(names + own) else { continue };
            left = rest;
            let node = (!is_same).then(|| SavedNode::from(node));
            saved.insert((*depth, ladder.clone()), node);
        }
        Self {
            version: VERSION,
            logs: tree.logs,
            root: SavedNode::from(&tree.root),
            nodes: saved.into_iter().map(|((depth, ladder), node)| (depth, ladder, node)).collect(),
            clock: tree.clock,
        }
    }
}

impl TryFrom<SavedTree> for Tree {
    type Error = NotSaved;

    fn try_from(saved: SavedTree) -> Result<Self, NotSaved> {
        if saved.version != VERSION {
            return Err(NotSaved::Version(saved.version));
        }
        let mut tree = Self {
            logs: saved.logs,
            root: Node::try_from(saved.root)?,
            nodes: BTreeMap::new(),
            clock: saved.clock,
            start: Start::default(),
        };
        let is_sound = saved.nodes.len() <= MAX_NODES
            && tree.clock <= MOST_COUNTED
            && tree.clock == tree.root.count
            && tree.logs.is_sound()
            && tree.root.is_sound(&tree);
        let mut nodes = saved.nodes;
        nodes.sort_by_key(|(depth, ..)| *depth);
        for (depth, ladder, node) in nodes {
            let above = match ladder.above(depth) {
                (0, _) => Some(&tree.root),
                above => tree.nodes.get(&above),
            };
            let node = match (node, above) {
                (Some(node), _) => Node::try_from(node)?,
                (None, Some(above)) => above.clone(),
                (None, None) => return Err(NotSaved::Numbers),
            };
            if !ladder.is_one_of(depth) || !node.is_sound(&tree) {
                return Err(NotSaved::Numbers);
            }
            tree.nodes.insert((depth, ladder), node);
        }
        if !is_sound {
            return Err(NotSaved::Numbers);
        }
        tree.begin_anew();
        Ok(tree)
    }
}

impl Node {
    /// Whether nothing was ever seen above that was not seen here.
    fn saw_the_same_as(&self, above: &Self) -> bool {
        self.count == above.count && self.cuts == above.cuts && self.cells == above.cells
    }

    /// Whether it can be one that was saved of such a tree.
    fn is_sound(&self, tree: &Tree) -> bool {
        let weights = |(_, ended, cut): &(u16, f32, f32)| {
            (0.0..=2e3).contains(ended) && (0.0..=2e3).contains(cut)
        };
        self.cells.iter().all(weights)
            && self.levels.is_sound()
            && self.cuts <= self.count
            && self.count <= tree.root.count
            && self.used <= tree.clock
    }
}

impl Ladder {
    /// The rung above one of this depth; 0 is the root, whatever its ladder.
    fn above(&self, depth: u8) -> (u8, Self) {
        let depth = depth.saturating_sub(1);
        let above = Self {
            effort: self.effort.clone(),
            tag: if depth >= 2 { self.tag.clone() } else { None },
            cap: if usize::from(depth) >= CAPPED { self.cap } else { None },
            // Four to a doubling, and one.
            prompt: if depth == 4 { self.prompt.map(|quarter| quarter / 4) } else { None },
        };
        (depth, above)
    }

    /// Whether a rung of this depth can have this ladder.
    fn is_one_of(&self, depth: u8) -> bool {
        let prompt = match (depth, self.prompt) {
            (4, Some(octave)) => octave < 64,
            (5, Some(quarter)) => quarter < 4 * 64,
            (4 | 5, None) => false,
            (_, prompt) => prompt.is_none(),
        };
        (1..=DEPTHS).contains(&usize::from(depth))
            && prompt
            && (depth >= 2 || self.tag.is_none())
            && (usize::from(depth) >= CAPPED || self.cap.is_none())
    }
}

impl From<&Node> for SavedNode {
    fn from(node: &Node) -> Self {
        let weights = |of: fn(&(u16, f32, f32)) -> f32| {
            let (mut saved, mut before) = (Vec::new(), 0);
            for cell in &node.cells {
                let tenths = (of(cell) * PARTS).round() as u32;
                if tenths > 0 {
                    saved.extend([u32::from(cell.0 - before), tenths]);
                    before = cell.0;
                }
            }
            saved
        };
        Self {
            count: node.count,
            cuts: node.cuts,
            used: node.used,
            levels: node.levels,
            ended: weights(|(_, ended, _)| *ended),
            cut: weights(|(.., cut)| *cut),
        }
    }
}

impl TryFrom<SavedNode> for Node {
    type Error = NotSaved;

    fn try_from(saved: SavedNode) -> Result<Self, NotSaved> {
        let mut cells: BTreeMap<u16, (f32, f32)> = BTreeMap::new();
        read(&saved.ended, |cell, weight| cells.entry(cell).or_default().0 += weight)?;
        read(&saved.cut, |cell, weight| cells.entry(cell).or_default().1 += weight)?;
        Ok(Self {
            cells: cells.into_iter().map(|(cell, (ended, cut))| (cell, ended, cut)).collect(),
            count: saved.count,
            cuts: saved.cuts,
            levels: saved.levels,
            used: saved.used,
        })
    }
}

/// Into how many parts a weight of one is told apart.
const PARTS: f32 = 10.0;

/// Every cell and its weight.
fn read(saved: &[u32], mut each: impl FnMut(u16, f32)) -> Result<(), NotSaved> {
    if saved.len() % 2 != 0 {
        return Err(NotSaved::Numbers);
    }
    let mut cell = 0_u32;
    for pair in saved.chunks_exact(2) {
        cell = cell.saturating_add(pair[0]);
        let known = u16::try_from(cell).ok().filter(|cell| usize::from(*cell) < CELLS);
        each(known.ok_or(NotSaved::Numbers)?, pair[1] as f32 / PARTS);
    }
    Ok(())
}
