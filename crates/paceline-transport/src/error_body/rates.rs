//! Finds the rates and the reset that a refusal's text names.
//!
//! The grammar is what xAI writes: `<what> per <window> (actual/limit): <n>/<n>`, several of them
//! joined by commas, and `Resets in: 1h 2m 3s`. What this file keeps: a number that does not fit
//! makes the reading absent, never wrong.

use std::time::Duration;

use paceline_core::Dimension;

use super::RateReading;

/// A message that names more rates than this is read no further.
const MAX_READINGS: usize = 8;

/// Every rate that a message names, in its order.
pub(super) fn readings(message: &str) -> Vec<RateReading> {
    const MARK: &str = "(actual/limit)";
    // ASCII only, so that every offset is a boundary in both.
    let lower = message.to_ascii_lowercase();
    let mut found = Vec::new();
    let mut from = 0;
    while let Some(at) = lower[from..].find(MARK) {
        let mark = from + at;
        from = mark + MARK.len();
        if let (Some((dimension, window)), Some((actual, limit))) =
            (counted(&lower[..mark]), numbers(&lower[from..]))
        {
            found.push(RateReading::new(dimension, window, actual, limit));
            if found.len() == MAX_READINGS {
                break;
            }
        }
    }
    found
}

/// What stands in front of the mark: `[input|output] <what> per <window>`.
fn counted(before: &str) -> Option<(Dimension, Duration)> {
    let mut words = before.split_whitespace().rev();
    let window = match words.next()? {
        "second" => 1,
        "minute" => 60,
        "hour" => 3_600,
        "day" => 86_400,
        _ => return None,
    };
    if words.next()? != "per" {
        return None;
    }
    // A dash or a bracket may touch the first word.
    let word = |word: &'static str, text: &str| {
        text.strip_suffix(word)
            .is_some_and(|rest| !rest.ends_with(|c: char| c.is_ascii_alphanumeric()))
    };
    let what = words.next()?;
    let dimension = if word("requests", what) {
        Dimension::Requests
    } else if word("tokens", what) {
        match words.next().unwrap_or_default() {
            kind if word("input", kind) || word("prompt", kind) => Dimension::InputTokens,
            kind if word("output", kind) || word("completion", kind) => Dimension::OutputTokens,
            _ => Dimension::TotalTokens,
        }
    } else {
        return None;
    };
    Some((dimension, Duration::from_secs(window)))
}

/// What stands behind the mark: `: <actual>/<limit>`.
fn numbers(after: &str) -> Option<(u64, u64)> {
    let after = after.trim_start().strip_prefix(':').unwrap_or(after).trim_start();
    let (actual, rest) = number(after)?;
    let (limit, _) = number(rest.trim_start().strip_prefix('/')?.trim_start())?;
    Some((actual, limit))
}

/// A decimal number at the beginning of a text, and what follows it.
fn number(text: &str) -> Option<(u64, &str)> {
    let length = text.bytes().take_while(u8::is_ascii_digit).count();
    Some((text[..length].parse().ok()?, &text[length..]))
}

/// The time that `Resets in: 1h 2m 3s` states; also with words, such as `45 seconds`.
pub(super) fn resets_in(message: &str) -> Option<Duration> {
    const MARK: &str = "resets in";
    let lower = message.to_ascii_lowercase();
    let mut rest = &lower[lower.find(MARK)? + MARK.len()..];
    rest = rest.trim_start().strip_prefix(':').unwrap_or(rest);
    let mut total: Option<Duration> = None;
    // Days, hours, minutes, seconds, milliseconds: no more parts than that.
    for _ in 0..5 {
        let Some((part, after)) = part(rest) else { break };
        total = Some(total.unwrap_or_default().checked_add(part?)?);
        rest = after;
    }
    total
}

/// One number with its unit; its time is `None` where it does not fit.
fn part(text: &str) -> Option<(Option<Duration>, &str)> {
    let text = text.trim_start_matches([' ', ',']);
    let (count, rest) = number(text)?;
    let rest = rest.trim_start();
    let length = rest.bytes().take_while(u8::is_ascii_alphabetic).count();
    let (unit, rest) = rest.split_at(length);
    let millis: u64 = match unit {
        "ms" | "millisecond" | "milliseconds" => 1,
        "s" | "sec" | "secs" | "second" | "seconds" => 1_000,
        "m" | "min" | "mins" | "minute" | "minutes" => 60_000,
        "h" | "hr" | "hrs" | "hour" | "hours" => 3_600_000,
        "d" | "day" | "days" => 86_400_000,
        _ => return None,
    };
    Some((count.checked_mul(millis).map(Duration::from_millis), rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(message: &str, expected: &[(Dimension, u64, u64, u64)]) {
        let read: Vec<_> = readings(message)
            .into_iter()
            .map(|rate| (rate.dimension, rate.window.as_secs(), rate.actual, rate.limit))
            .collect();
        assert_eq!(read, expected, "{message}");
    }

    #[test]
    fn a_rate_is_read_whatever_joins_it() {
        use Dimension::{InputTokens, OutputTokens, Requests, TotalTokens};
        check("is — Requests per Second (actual/limit): 2/2.", &[(Requests, 1, 2, 2)]);
        check("is —Requests per Minute (actual/limit): 1922/60.", &[(Requests, 60, 1922, 60)]);
        check("is - Requests per Day (actual/limit) 7 / 5", &[(Requests, 86_400, 7, 5)]);
        check(
            "Requests per Second (actual/limit): 2/2, Requests per Minute (actual/limit): 73/60",
            &[(Requests, 1, 2, 2), (Requests, 60, 73, 60)],
        );
        check(
            "Tokens per Minute (actual/limit): 65605/16000",
            &[(TotalTokens, 60, 65_605, 16_000)],
        );
        check("Input tokens per hour (actual/limit): 1/2", &[(InputTokens, 3_600, 1, 2)]);
        check("completion tokens per minute (ACTUAL/LIMIT): 1/2", &[(OutputTokens, 60, 1, 2)]);
    }

    #[test]
    fn what_is_no_rate_is_not_one() {
        for message in [
            "(actual/limit): 1/2",
            "Images per Minute (actual/limit): 1/2",
            "Requests per Fortnight (actual/limit): 1/2",
            "Requests a Minute (actual/limit): 1/2",
            "Badrequests per Minute (actual/limit): 1/2",
            "Requests per Minute (actual/limit): -1/2",
            "Requests per Minute (actual/limit): 1",
            "Requests per Minute (actual/limit): 1/",
            "Requests per Minute (actual/limit): 18446744073709551616/2",
            "Requests per Minute: 1/2",
        ] {
            check(message, &[]);
        }
    }

    #[test]
    fn no_more_rates_are_read_than_a_message_has_reason_to_name() {
        let message = "Requests per Second (actual/limit): 2/2 ".repeat(50);
        assert_eq!(readings(&message).len(), MAX_READINGS);
    }

    #[test]
    fn a_reset_is_read_in_letters_and_words() {
        for (text, seconds) in [
            ("Resets in: 1h 2m 3s", Some(3_723)),
            ("resets in 45s.", Some(45)),
            ("Resets in: 2 days, 1 hour", Some(176_400)),
            ("Resets in 45 seconds and so on", Some(45)),
            ("Resets in: 1h2m", Some(3_720)),
            ("Resets in: soon", None),
            ("Resets in: 5", None),
            ("Resets in: 99999999999999999999s", None),
            ("Resets in: 18446744073709551615d", None),
            ("it resets", None),
        ] {
            assert_eq!(resets_in(text), seconds.map(Duration::from_secs), "{text}");
        }
    }
}
