//! The levels at which quantiles are read.
//!
//! A quantile that should be passed once in twenty is read a little higher after every time that it
//! was passed, and a little lower after every time that it was not, so that over time it is passed
//! once in twenty whatever the distribution is (adaptive conformal inference). Invariant: a higher
//! level never becomes a lower one.

use std::sync::LazyLock;

use serde::{Deserialize, Serialize};

/// The levels whose promises are followed; those between are moved as their neighbours are.
const ANCHORS: [f64; 13] =
    [0.001, 0.005, 0.025, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.975, 0.995, 0.999];
/// How far one answer moves a level, in log odds, in units of its own uncertainty. At 95 % a pass
/// moves it by a fifth, such as to 95.9 %.
const STEP: f64 = 0.05;
/// A level is never moved beyond these log odds, about 1 in 1,000,000.
const MOST_ODDS: f64 = 14.0;

/// A level is not moved towards the middle before it ought to have been passed this often.
const BEFORE_INWARD: f64 = 3.0;

/// How far each level is moved, in log odds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(from = "SavedLevels", into = "SavedLevels")]
pub(crate) struct Levels {
    by: [f32; ANCHORS.len()],
    /// How many numbers they know of.
    count: u32,
}

/// As they are saved: in thousandths, so that they are short; how many numbers they know of.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct SavedLevels([i16; ANCHORS.len()], u32);

impl From<Levels> for SavedLevels {
    fn from(levels: Levels) -> Self {
        Self(levels.by.map(|by| (by * 1_000.0).round() as i16), levels.count)
    }
}

impl From<SavedLevels> for Levels {
    fn from(saved: SavedLevels) -> Self {
        Self { by: saved.0.map(|by| f32::from(by) / 1_000.0), count: saved.1 }
    }
}

/// What a distribution said of a number that was seen then: with which chance one would be below it, and
/// with which at or below it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Chances {
    below: f64,
    through: f64,
    /// Both in log odds.
    least: f64,
    most: f64,
}

impl Chances {
    pub(super) fn new(below: f64, through: f64) -> Self {
        Self { below, through, least: log_odds(below), most: log_odds(through) }
    }

    /// Of one that was cut off: it may have been anything above.
    pub(super) const fn of_cut(self) -> Self {
        Self { through: 1.0, most: f64::INFINITY, ..self }
    }
}

impl Levels {
    /// The level at which to read the quantile of a level.
    pub(super) fn moved(&self, level: f64) -> f64 {
        if level.is_nan() || level <= 0.0 || level >= 1.0 {
            return level;
        }
        let odds = log_odds(level);
        let next = ANCHORS.partition_point(|anchor| *anchor < level);
        let moved = match next {
            0 => odds + self.by(0),
            ANCHORS_LEN => odds + self.by(ANCHORS_LEN - 1),
            _ => {
                let (below, above) = (ODDS[next - 1], ODDS[next]);
                let share = (odds - below) / (above - below);
                odds + self.by(next - 1) * (1.0 - share) + self.by(next) * share
            }
        };
        // Neighbours that were moved past each other keep their order: the outer one gives way to
        // no inner one.
        let ordered = if level >= 0.5 {
            (MIDDLE..next.max(MIDDLE)).map(|anchor| self.at(anchor)).fold(moved, f64::max)
        } else {
            (next..=MIDDLE).map(|anchor| self.at(anchor)).fold(moved, f64::min)
        };
        level_of(ordered.clamp(-MOST_ODDS, MOST_ODDS))
    }

    /// The same of every anchor, in log odds.
    fn moved_anchors(&self) -> [f64; ANCHORS_LEN] {
        let mut moved: [f64; ANCHORS_LEN] = std::array::from_fn(|anchor| self.at(anchor));
        for anchor in MIDDLE + 1..ANCHORS_LEN {
            moved[anchor] = moved[anchor].max(moved[anchor - 1]);
        }
        for anchor in (0..MIDDLE).rev() {
            moved[anchor] = moved[anchor].min(moved[anchor + 1]);
        }
        moved.map(|odds| odds.clamp(-MOST_ODDS, MOST_ODDS))
    }

    /// Learns from one number. A level that lies between the chances of what is below it and of that with it is
    /// held in part, so that answers of one length move nothing where that was foreseen.
    pub(super) fn learn(&mut self, chances: &Chances) {
        let moved = self.moved_anchors();
        let Chances { below, through, least, most } = *chances;
        for (anchor, odds) in moved.into_iter().enumerate() {
            // In log odds, as they keep the order and cost nothing more.
            let held = if through > below && odds > least && odds < most {
                ((level_of(odds) - below) / (through - below)).clamp(0.0, 1.0)
            } else {
                f64::from(u8::from(least < odds))
            };
            let (level, stated) = (ANCHORS[anchor], ODDS[anchor]);
            let step = STEP * (level - held) * UNCERTAINTY[anchor];
            // From where it was read, so that one kept back by its neighbours gathers no debt.
            let next = (odds + step).clamp(-MOST_ODDS, MOST_ODDS);
            let outward = if level < 0.5 { stated.min(next) } else { stated.max(next) };
            let is_known = f64::from(self.count) * level.min(1.0 - level) >= BEFORE_INWARD;
            self.by[anchor] = (if is_known { next } else { outward } - stated) as f32;
        }
        self.count = self.count.saturating_add(1);
    }

    /// Whether every number is one, for what comes from outside.
    pub(super) fn is_sound(&self) -> bool {
        self.by.iter().all(|by| f64::from(by.abs()) <= 2.0 * MOST_ODDS)
    }

    fn by(&self, anchor: usize) -> f64 {
        f64::from(self.by[anchor])
    }

    fn at(&self, anchor: usize) -> f64 {
        ODDS[anchor] + self.by(anchor)
    }
}

const ANCHORS_LEN: usize = ANCHORS.len();
/// Where the level of a half stands.
const MIDDLE: usize = 6;

/// The log odds of each anchor.
static ODDS: LazyLock<[f64; ANCHORS_LEN]> = LazyLock::new(|| ANCHORS.map(log_odds));
/// One over the deviation of whether a number passes it.
static UNCERTAINTY: LazyLock<[f64; ANCHORS_LEN]> =
    LazyLock::new(|| ANCHORS.map(|level| 1.0 / (level * (1.0 - level)).sqrt()));

fn log_odds(level: f64) -> f64 {
    (level / (1.0 - level)).ln()
}

fn level_of(odds: f64) -> f64 {
    1.0 / (1.0 + (-odds).exp())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers from 0 to 1 whose true chance to stay below `u` is u², read as if it were u.
    fn passed(level: f64) -> f64 {
        let mut levels = Levels::default();
        let (mut passed, mut seed) = (0_u32, 1_u64);
        for round in 0..60_000 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let u = ((seed >> 33) as f64 / f64::from(1_u32 << 31)).sqrt();
            if round >= 10_000 {
                passed += u32::from(u >= levels.moved(level));
            }
            levels.learn(&Chances::new(u, u));
        }
        f64::from(passed) / 50_000.0
    }

    #[test]
    fn what_is_promised_is_held_though_the_distribution_is_wrong() {
        for level in [0.025, 0.5, 0.9, 0.95, 0.975, 0.995] {
            let off = (passed(level) - (1.0 - level)).abs();
            assert!(off < 0.003, "{level}: {off}");
        }
    }

    #[test]
    fn a_higher_level_never_becomes_a_lower_one() {
        let mut levels = Levels::default();
        let mut seed = 9_u64;
        for _ in 0..2_000 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let u = (seed >> 33) as f64 / f64::from(1_u32 << 31);
            levels.learn(&Chances::new(u, u));
            let moved: Vec<f64> = (1..1_000).map(|i| levels.moved(f64::from(i) / 1e3)).collect();
            assert!(moved.windows(2).all(|two| two[0] <= two[1] + 1e-9), "{levels:?}");
        }
    }

    #[test]
    fn the_ends_stay_where_they_are() {
        let mut levels = Levels::default();
        (0..100).for_each(|_| levels.learn(&Chances::new(1.0, 1.0)));
        assert_eq!((levels.moved(0.0), levels.moved(1.0)), (0.0, 1.0));
    }
}
