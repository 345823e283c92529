//! Finds the rates and the reset that a refusal's text names.
//!
//! The grammar is what xAI writes: `<what> per <window> (actual/limit): <n>/<n>`, several of them
//! joined by commas, and `Resets in: 1h 2m 3s`; beside it what OpenAI and those like it write:
//! `on tokens per min (TPM): Limit 10000, Used 9500, Requested 600. Please try again in 1.2s`. What
//! this file keeps: a number that does not fit makes the reading absent, never wrong.

use std::time::Duration;

use paceline_core::Dimension;

use super::RateReading;
use crate::headers::moment::decimal;

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
    if found.is_empty() {
        found.extend(limit_and_used(&lower))
    }
    found
}

/// `<what> per <window> ...: Limit <n>, Used <n>, Requested <n>`, the last of which may be missing, and
/// `Limit: <n> / min. Current: <n> / min`. What is requested counts as used: it would have been.
fn limit_and_used(lower: &str) -> Option<RateReading> {
    let per = lower.find(" per ")? + " per ".len();
    let window = lower[per..].split(|c: char| !c.is_ascii_alphabetic()).next()?;
    let (dimension, window) = counted(&lower[..per + window.len()])?;
    let rest = &lower[per..];
    let after = |mark: &str| {
        let text = &rest[rest.find(mark)? + mark.len()..];
        let (number, rest) = number(text.trim_start_matches([':', ' ']))?;
        // Not the beginning of a longer number, such as one with a thousands separator.
        let is_whole = !rest.starts_with(|c: char| c.is_alphanumeric())
            && !rest
                .strip_prefix(',')
                .is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
        is_whole.then_some(number)
    };
    let used = after("used").or_else(|| after("current"))?;
    let actual = used.checked_add(after("requested").unwrap_or(0))?;
    Some(RateReading::new(dimension, window, actual, after("limit")?))
}

/// What stands in front of the mark: `[input|output] <what> per <window>`.
fn counted(before: &str) -> Option<(Dimension, Duration)> {
    let mut words = before.split_whitespace().rev();
    let window = match words.next()? {
        "second" | "sec" => 1,
        "minute" | "min" => 60,
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

/// The time that `Resets in: 1h 2m 3s` states, or `try again in 1.2s`, or `retry after 45 seconds`.
pub(super) fn resets_in(message: &str) -> Option<Duration> {
    const MARKS: [&str; 4] = ["resets in", "try again in", "retry after", "retry in"];
    let lower = message.to_ascii_lowercase();
    MARKS.iter().find_map(|mark| {
        let rest = &lower[lower.find(mark)? + mark.len()..];
        span(rest.trim_start().strip_prefix(':').unwrap_or(rest))
    })
}

/// Numbers with units at the beginning of a text, added up.
fn span(mut rest: &str) -> Option<Duration> {
    let mut total: Option<Duration> = None;
    // Days, hours, minutes, seconds, milliseconds: no more parts than that.
    for _ in 0..5 {
        let Some((part, after)) = part(rest) else { break };
        total = Some(total.unwrap_or_default().checked_add(part?)?);
        rest = after;
    }
    total
}

/// One number, whole or decimal, with its unit; its time is `None` where it does not fit.
fn part(text: &str) -> Option<(Option<Duration>, &str)> {
    let text = text.trim_start_matches([' ', ',']);
    let length = text.bytes().take_while(|byte| byte.is_ascii_digit() || *byte == b'.').count();
    let (count, rest) = text.split_at(length);
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
    Some((decimal(count, millis * 1_000_000), rest))
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
    fn a_rate_is_read_as_openai_and_those_like_it_write_it() {
        use Dimension::{Requests, TotalTokens};
        check(
            "Rate limit reached for m in organization org-1 on tokens per min (TPM): Limit 10000, Used 9500, Requested 600. Please try again in 600ms.",
            &[(TotalTokens, 60, 10_100, 10_000)],
        );
        check(
            "Rate limit reached for m on requests per min. Limit: 20 / min. Current: 24 / min.",
            &[(Requests, 60, 24, 20)],
        );
        check(
            "Rate limit reached for model `m` on requests per day (RPD): Limit 14400, Used 14400, Requested 1.",
            &[(Requests, 86_400, 14_401, 14_400)],
        );
        check("on tokens per min (TPM): Limit 10,000, Used 9,500, Requested 600.", &[]);
        check("on tokens per min (TPM): Limit 10000, Requested 600.", &[]);
        check("on images per min: Limit 5, Used 5", &[]);
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
            ("Please try again in 6m0s. Visit", Some(360)),
            ("Please retry after 26 seconds.", Some(26)),
            ("Resets in: 99999999999999999999s", None),
            ("Resets in: 18446744073709551615d", None),
            ("it resets", None),
        ] {
            assert_eq!(resets_in(text), seconds.map(Duration::from_secs), "{text}");
        }
        assert_eq!(resets_in("try again in 1.244s"), Some(Duration::from_millis(1_244)));
        assert_eq!(resets_in("try again in 20ms"), Some(Duration::from_millis(20)));
    }
}
