//! A server's counts, kept the naive way: every event with its moment, nothing ever forgotten.

/// What a server counted, and when, in nanoseconds.
#[derive(Debug, Default)]
pub(crate) struct Log(Vec<(u64, u64)>);

impl Log {
    pub(crate) fn count(&mut self, at: u64, amount: u64) {
        self.0.push((at, amount));
    }

    /// The most that was counted in any window `(t - length, t]`, over every `t` that matters:
    /// the moments of the events themselves.
    pub(crate) fn worst_window(&self, length: u64) -> u64 {
        let in_window = |end: u64| {
            let events = self.0.iter();
            events.filter(|(at, _)| *at <= end && at + length > end).map(|(_, n)| n).sum()
        };
        self.0.iter().map(|(end, _)| in_window(*end)).max().unwrap_or(0)
    }
}

#[test]
fn it_finds_the_worst_of_all_rolling_windows() {
    let mut log = Log::default();
    for (at, amount) in [(0, 5), (9, 3), (10, 4), (19, 2), (25, 1)] {
        log.count(at, amount);
    }
    // (9, 10] and 0 has just left: 3 + 4; with 19 it is (9, 19]: 4 + 2; (0, 9]: 5 + 3.
    assert_eq!(log.worst_window(10), 8);
    assert_eq!(log.worst_window(11), 12);
    assert_eq!(log.worst_window(1), 5);
}
