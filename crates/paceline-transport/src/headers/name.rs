//! What the name of a rate-limit header says its value is.
//!
//! The providers put the same few words in any order: what is counted, in which time, and whether it
//! is the limit, what is left, or when it comes back. What this file keeps: a name with a word that is
//! not known is not read.

use std::time::Duration;

use paceline_core::Dimension;

/// Which figure of a limit a header gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Figure {
    Limit,
    Remaining,
    Reset,
}

/// Which limit: headers that agree in this speak of the same one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Subject<'a> {
    /// `None`: the name does not say.
    pub(super) dimension: Option<Dimension>,
    /// `None`: the name does not say.
    pub(super) window: Option<Duration>,
    /// Words that tell limits of one kind apart, such as `usage_based`; may be empty.
    pub(super) scope: &'a str,
    /// Whose spelling it is.
    pub(super) family: Family,
}

/// Whose spelling a header has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    /// `x-ratelimit-limit-requests`: xAI, OpenAI, Azure, Groq, Mistral, Fireworks.
    OpenAi,
    /// `anthropic-ratelimit-requests-limit`.
    Anthropic,
    /// `ratelimit-limit`: the IETF's drafts up to -06.
    Ietf,
}

/// What a name in lower case says; `None` where it is no such header, or has other words.
pub(super) fn read(name: &str) -> Option<(Subject<'_>, Figure)> {
    let (family, rest) =
        PREFIXES.iter().find_map(|(prefix, family)| Some((*family, name.strip_prefix(prefix)?)))?;
    let mut subject = Subject { dimension: None, window: None, scope: "", family };
    if family == Family::Anthropic && rest.starts_with(UNIFIED) {
        let (scope, word) = rest.rsplit_once('-')?;
        subject.scope = scope;
        return Some((subject, figure(word)?));
    }
    let mut said = None;
    // `-tokens_usage_based`: what follows an underscore is a name of its own.
    let (words, scope) = rest.split_once('_').unwrap_or((rest, ""));
    subject.scope = scope;
    for word in words.split('-') {
        if let Some(figure) = figure(word) {
            set(&mut said, figure)?;
            continue;
        }
        match word {
            "requests" | "request" | "req" => set(&mut subject.dimension, Dimension::Requests)?,
            "tokens" | "token" => {
                // `input-tokens` and `tokens-prompt` are of one kind of them.
                subject.dimension = Some(match subject.dimension {
                    None => Dimension::TotalTokens,
                    Some(kind @ (Dimension::InputTokens | Dimension::OutputTokens)) => kind,
                    Some(_) => return None,
                });
            }
            "input" | "prompt" => kind(&mut subject.dimension, Dimension::InputTokens)?,
            "output" | "generated" | "completion" => {
                kind(&mut subject.dimension, Dimension::OutputTokens)?;
            }
            "second" | "1s" => set(&mut subject.window, Duration::from_secs(1))?,
            "minute" | "1m" => set(&mut subject.window, Duration::from_secs(60))?,
            "hour" | "1h" => set(&mut subject.window, Duration::from_secs(3_600))?,
            "day" | "1d" => set(&mut subject.window, Duration::from_secs(86_400))?,
            _ => return None,
        }
    }
    Some((subject, said?))
}

fn figure(word: &str) -> Option<Figure> {
    match word {
        "limit" => Some(Figure::Limit),
        "remaining" => Some(Figure::Remaining),
        "reset" => Some(Figure::Reset),
        _ => None,
    }
}

/// Whether a name is one of a rate-limit header, known or not.
pub(super) fn looks_like_one(name: &str) -> bool {
    let is_structured = matches!(name, "ratelimit" | "ratelimit-policy");
    !is_structured && PREFIXES.iter().any(|(prefix, _)| name.starts_with(prefix))
}

/// Said once; twice is not understood.
fn set<T>(place: &mut Option<T>, value: T) -> Option<()> {
    place.replace(value).is_none().then_some(())
}

/// Tokens of a kind, with or without the word for tokens before it.
fn kind(place: &mut Option<Dimension>, kind: Dimension) -> Option<()> {
    match place.replace(kind) {
        None | Some(Dimension::TotalTokens) => Some(()),
        Some(_) => None,
    }
}

/// `anthropic-ratelimit-unified-5h-reset`: one limit on all a plan allows, with names of its own.
const UNIFIED: &str = "unified-";

/// Beginnings of names. The IETF's structured `ratelimit` and `ratelimit-policy` are read elsewhere.
const PREFIXES: [(&str, Family); 4] = [
    ("x-ratelimit-", Family::OpenAi),
    ("x-rate-limit-", Family::OpenAi),
    ("anthropic-ratelimit-", Family::Anthropic),
    ("ratelimit-", Family::Ietf),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(name: &str, dimension: Option<Dimension>, seconds: Option<u64>, figure: Figure) {
        let (subject, read) = read(name).unwrap_or_else(|| panic!("{name} is read"));
        assert_eq!(subject.dimension, dimension, "{name}");
        assert_eq!(subject.window, seconds.map(Duration::from_secs), "{name}");
        assert_eq!(read, figure, "{name}");
    }

    #[test]
    fn every_provider_s_names_are_read() {
        use Dimension::{InputTokens, OutputTokens, Requests, TotalTokens};
        use Figure::{Limit, Remaining, Reset};
        check("x-ratelimit-limit-requests", Some(Requests), None, Limit);
        check("x-ratelimit-remaining-tokens", Some(TotalTokens), None, Remaining);
        check("x-ratelimit-reset-tokens", Some(TotalTokens), None, Reset);
        check("x-ratelimit-limit-tokens_usage_based", Some(TotalTokens), None, Limit);
        check("x-ratelimit-limit-tokens-minute", Some(TotalTokens), Some(60), Limit);
        check("x-ratelimit-remaining-req-minute", Some(Requests), Some(60), Remaining);
        check("x-ratelimit-limit-tokens-prompt", Some(InputTokens), None, Limit);
        check("x-ratelimit-limit-tokens-generated", Some(OutputTokens), None, Limit);
        check("x-ratelimit-limit-requests-day", Some(Requests), Some(86_400), Limit);
        check("anthropic-ratelimit-requests-limit", Some(Requests), None, Limit);
        check("anthropic-ratelimit-input-tokens-remaining", Some(InputTokens), None, Remaining);
        check("anthropic-ratelimit-output-tokens-reset", Some(OutputTokens), None, Reset);
        check("anthropic-ratelimit-unified-5h-reset", None, None, Reset);
        check("anthropic-ratelimit-unified-reset", None, None, Reset);
        check("x-ratelimit-reset", None, None, Reset);
        check("x-rate-limit-remaining", None, None, Remaining);
        check("ratelimit-limit", None, None, Limit);
    }

    #[test]
    fn names_with_other_words_are_not() {
        for name in [
            "x-ratelimit-tokens-query-cost",
            "x-ratelimit-limit",
            "x-ratelimit-limit-limit",
            "x-ratelimit-limit-requests-requests",
            "x-ratelimit-limit-requests-tokens",
            "x-ratelimit-limit-input-output-tokens",
            "x-ratelimit-requests",
            "anthropic-ratelimit-unified-5h-status",
            "ratelimit",
            "ratelimit-policy",
            "x-ratelimit-",
            "retry-after",
        ] {
            let is_read = read(name).is_some();
            assert_eq!(is_read, name == "x-ratelimit-limit", "{name}");
        }
    }
}
