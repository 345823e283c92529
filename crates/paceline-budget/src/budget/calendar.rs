//! Hours, days and months in UTC, as numbers that follow each other.
//!
//! It knows no time zones, because budgets are kept in UTC, and no leap seconds, because the clock of
//! a computer has none. Invariant: every moment lies in exactly one period, before 1970 as after it.

use paceline_core::UnixMillis;

const HOUR: i64 = 3_600_000;
const DAY: i64 = 24 * HOUR;

/// The hour of a moment, counted from 1970.
pub(super) const fn hour(at: UnixMillis) -> i64 {
    at.as_millis().div_euclid(HOUR)
}

/// The day of a moment, counted from 1970-01-01.
pub(super) const fn day(at: UnixMillis) -> i64 {
    at.as_millis().div_euclid(DAY)
}

/// The month of a moment, counted from January of the year 0.
pub(super) const fn month(at: UnixMillis) -> i64 {
    let (year, month) = year_and_month(day(at));
    year * 12 + month
}

/// The beginning of an hour.
pub(super) const fn begin_of_hour(hour: i64) -> UnixMillis {
    UnixMillis::new(hour.saturating_mul(HOUR))
}

/// The beginning of a day.
pub(super) const fn begin_of_day(day: i64) -> UnixMillis {
    UnixMillis::new(day.saturating_mul(DAY))
}

/// The beginning of a month.
pub(super) const fn begin_of_month(month: i64) -> UnixMillis {
    begin_of_day(first_day(month.div_euclid(12), month.rem_euclid(12)))
}

/// Days of 400 years, after which the calendar repeats itself.
const CYCLE: i64 = 146_097;
/// From 0000-03-01, where the reckoning begins, to 1970-01-01.
const TO_1970: i64 = 719_468;

/// The year, and the month from 0, of a day counted from 1970-01-01. Years begin in March here, so
/// that a leap day is the last of its year.
const fn year_and_month(day: i64) -> (i64, i64) {
    let day = day + TO_1970;
    let (cycle, day) = (day.div_euclid(CYCLE), day.rem_euclid(CYCLE));
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let from_march = (5 * day + 2) / 153;
    let month = (from_march + 2) % 12;
    // January and February belong to the next year of the calendar.
    (year + cycle * 400 + (from_march >= 10) as i64, month)
}

/// The first day, counted from 1970-01-01, of a month from 0.
const fn first_day(year: i64, month: i64) -> i64 {
    let (year, from_march) = if month < 2 { (year - 1, month + 10) } else { (year, month - 2) };
    let (cycle, year) = (year.div_euclid(400), year.rem_euclid(400));
    let day = year * 365 + year / 4 - year / 100 + (153 * from_march + 2) / 5;
    cycle.saturating_mul(CYCLE).saturating_add(day - TO_1970)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Midnight of a date, reckoned day by day from 1970 with the rule of leap years alone.
    fn midnight(year: i64, month: usize, date: i64) -> UnixMillis {
        let leap = |year: i64| year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
        let length = |year| if leap(year) { 366 } else { 365 };
        let mut days = 0;
        (1970..year).for_each(|year| days += length(year));
        (year..1970).for_each(|year| days -= length(year));
        let february = if leap(year) { 29 } else { 28 };
        let months = [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
        days += months[..month - 1].iter().sum::<i64>() + date - 1;
        UnixMillis::new(days * DAY)
    }

    #[test]
    fn months_are_those_of_the_calendar_from_1583_to_2700() {
        for year in 1583..2700 {
            for number in 1..=12 {
                let begin = midnight(year, number, 1);
                let month_of = year * 12 + number as i64 - 1;
                assert_eq!(month(begin), month_of, "{year}-{number}");
                assert_eq!(month(UnixMillis::new(begin.as_millis() - 1)), month_of - 1);
                assert_eq!(begin_of_month(month_of), begin);
            }
        }
    }

    #[test]
    fn leap_days_belong_to_february() {
        for year in [1968, 1972, 2000, 2024, 2400] {
            assert_eq!(month(midnight(year, 2, 29)), year * 12 + 1);
        }
        // 1900 and 2100 have none: the day after the 28th is in March.
        for year in [1900, 2100] {
            let after = midnight(year, 2, 28).as_millis() + DAY;
            assert_eq!(month(UnixMillis::new(after)), year * 12 + 2);
        }
    }

    #[test]
    fn the_last_moment_before_1970_is_in_its_own_hour_day_and_month() {
        let before = UnixMillis::new(-1);
        assert_eq!((hour(before), day(before), month(before)), (-1, -1, 1969 * 12 + 11));
        assert_eq!(begin_of_hour(-1), UnixMillis::new(-HOUR));
        assert_eq!(begin_of_day(-1), UnixMillis::new(-DAY));
    }

    #[test]
    fn the_ends_of_time_have_a_month() {
        for end in [i64::MIN, i64::MAX] {
            let at = UnixMillis::new(end);
            let begin = begin_of_month(month(at));
            assert!(begin <= at || end == i64::MIN, "{begin:?}");
        }
    }
}
