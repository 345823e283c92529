//! The cells that numbers are counted in: one each below 16, then 16 to every doubling.
//!
//! Invariant: cells are in order, without gaps, and no wider than a sixteenth of what they begin at.

/// How many cells there are.
pub(super) const CELLS: usize = 16 + DOUBLINGS * 16;
/// From 16 to [`MOST`].
const DOUBLINGS: usize = 23;
/// Whatever is larger is counted as this.
pub(super) const MOST: u64 = (1 << (4 + DOUBLINGS as u64)) - 1;

/// The cell of a number.
pub(super) fn cell(number: u64) -> usize {
    let number = number.min(MOST);
    if number < 16 {
        return number as usize;
    }
    let shift = number.ilog2() - 4;
    16 + shift as usize * 16 + ((number >> shift) & 15) as usize
}

/// The lowest number of a cell; of the cell after the last, the number after the last.
pub(super) const fn low(cell: usize) -> u64 {
    if cell < 16 {
        return cell as u64;
    }
    let (shift, step) = ((cell - 16) / 16, (cell - 16) % 16);
    (16 + step as u64) << shift
}

/// How many numbers a cell holds.
pub(super) const fn width(cell: usize) -> u64 {
    low(cell + 1) - low(cell)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_in_order_and_without_gaps() {
        for index in 0..CELLS {
            assert_eq!(cell(low(index)), index);
            assert_eq!(cell(low(index + 1) - 1), index);
            assert!(width(index) == 1 || width(index) * 16 <= low(index));
        }
        assert_eq!(low(CELLS) - 1, MOST);
        assert_eq!(cell(u64::MAX), CELLS - 1);
    }
}
