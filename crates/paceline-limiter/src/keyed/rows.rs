//! Rows of equal length, one for each place, in one array.
//!
//! It knows nothing of what lies in them.

/// A row of so many for each place.
#[derive(Debug)]
pub(super) struct Rows<T> {
    length: usize,
    all: Vec<T>,
}

impl<T> Rows<T> {
    pub(super) const fn new(length: usize) -> Self {
        Self { length, all: Vec::new() }
    }

    /// The row of a place that there is.
    #[inline]
    pub(super) fn of(&mut self, place: u32) -> &mut [T] {
        let first = place as usize * self.length;
        &mut self.all[first..first + self.length]
    }

    /// Makes rows up to that of this place, if they are not there yet.
    pub(super) fn reach(&mut self, place: u32, fill: impl FnMut() -> T) {
        let end = (place as usize + 1) * self.length;
        if self.all.len() < end {
            self.all.resize_with(end, fill);
        }
    }
}
