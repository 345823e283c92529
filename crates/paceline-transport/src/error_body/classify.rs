//! Decides what an error means: first by what it says, then by its status.
//!
//! What this file keeps: the first rule that matches decides, and only what is known to have
//! been refused before generation is told as such.

use super::shape::Shape;
use super::{RateReading, Reject, Retry, Stop, Verdict, Wait};

/// How much of a message is searched, in bytes: an error may echo the whole prompt behind what
/// it has to say.
const SEARCHED: usize = 2_000;

pub(super) fn verdict(status: u16, shape: &Shape, rates: &[RateReading]) -> Verdict {
    // A limit of zero is no rate to wait for: the team may not use the model at all.
    if rates.iter().any(|rate| rate.limit == 0) {
        return Verdict::Stop(Stop::NoEntitlement);
    }
    let text = searched(&shape.message);
    let code = shape.code.as_deref().map(searched).unwrap_or_default();
    let rule = RULES.iter().find(|rule| {
        rule.when.covers(status)
            && (rule.phrases.iter().any(|phrase| text.contains(phrase))
                || rule.codes.contains(&code.as_str()))
    });
    if let Some(rule) = rule {
        return rule.verdict;
    }
    if !rates.is_empty() {
        return Verdict::Wait(Wait::Rate);
    }
    if status < 300 {
        return by_code(&code);
    }
    by_status(status, shape)
}

/// The part of a text that is searched.
pub(super) fn beginning(text: &str) -> &str {
    let end = (0..=SEARCHED.min(text.len())).rev().find(|&at| text.is_char_boundary(at));
    &text[..end.unwrap_or(0)]
}

/// Whether a message begins as refusals for a rate do: it is about that, and does not only quote it.
pub(super) fn is_about_rates(message: &str) -> bool {
    let start: String = message.trim_start().chars().take(ABOUT).collect();
    let start = start.to_ascii_lowercase();
    ["too many", "rate limit", "your team", "team ", "resource-exhausted", "resource exhausted"]
        .iter()
        .any(|begins| start.starts_with(begins))
}

/// Characters of a message that say what it is about.
const ABOUT: usize = 40;

fn searched(text: &str) -> String {
    beginning(text).to_ascii_lowercase()
}

/// What text or code means what, under which status.
struct Rule {
    when: When,
    /// Lower case; one of them has to stand in the message.
    phrases: &'static [&'static str],
    /// Lower case; one of them has to be the code.
    codes: &'static [&'static str],
    verdict: Verdict,
}

/// Under which statuses a rule holds.
#[derive(Clone, Copy)]
enum When {
    Always,
    /// The server refused the request: 4xx, or an error in a stream.
    Refused,
    /// The same, but not for its rate.
    Input,
    /// 429, or an error in a stream.
    Rate,
}

impl When {
    const fn covers(self, status: u16) -> bool {
        match self {
            Self::Always => true,
            Self::Refused => status < 500,
            Self::Input => status < 500 && status != 429,
            Self::Rate => status < 300 || status == 429,
        }
    }
}

const RULES: [Rule; 10] = [
    // 429 until the spring of 2026 and 403 since.
    Rule {
        when: When::Refused,
        phrases: &[
            "used all available credits",
            "reached its monthly spending limit",
            "free usage quota",
            "exceeded your current quota",
            "credit balance is too low",
        ],
        codes: &[
            "subscription:free-usage-exhausted",
            "insufficient_quota",
            "billing_hard_limit_reached",
        ],
        verdict: Verdict::Stop(Stop::NoCredits),
    },
    // A deterministic refusal that comes as a 503.
    Rule {
        when: When::Always,
        phrases: &["grammar is too complex"],
        codes: &[],
        verdict: Verdict::Reject(Reject::BadRequest),
    },
    Rule {
        when: When::Input,
        phrases: &["violates usage guidelines", "safety_check_type"],
        codes: &["content_policy_violation", "content_filter", "responsibleaipolicyviolation"],
        verdict: Verdict::Reject(Reject::Content),
    },
    // xAI says so with a 400.
    Rule {
        when: When::Input,
        phrases: &[
            "incorrect api key",
            "invalid api key",
            "api key is invalid",
            "api key not valid",
            "no api key provided",
        ],
        codes: &["invalid_api_key", "unauthenticated", "authentication_error"],
        verdict: Verdict::Stop(Stop::BadKey),
    },
    // The IETF's draft on rate-limit headers.
    Rule {
        when: When::Refused,
        phrases: &[],
        codes: &["abnormal-usage-detected"],
        verdict: Verdict::Stop(Stop::Blocked),
    },
    Rule {
        when: When::Input,
        phrases: &[
            "maximum prompt length is",
            "maximum context length is",
            "prompt is too long",
            "exceeds the context window",
            "exceeds the maximum context",
        ],
        codes: &["context_length_exceeded"],
        verdict: Verdict::Reject(Reject::ContextOverflow),
    },
    Rule {
        when: When::Input,
        phrases: &["does not exist or your team", "model not found"],
        codes: &["model_not_found"],
        verdict: Verdict::Reject(Reject::UnknownModel),
    },
    Rule {
        when: When::Rate,
        phrases: &["at capacity", "over capacity"],
        codes: &["temporary-reduced-capacity", "engine_overloaded", "model_overloaded"],
        verdict: Verdict::Wait(Wait::Capacity),
    },
    Rule {
        when: When::Rate,
        phrases: &["too many requests", "too many tokens"],
        codes: &[
            "resource-exhausted",
            "resource_exhausted",
            "some resource has been exhausted",
            "rate_limit_exceeded",
            "rate_limit_error",
            "quota-exceeded",
        ],
        verdict: Verdict::Wait(Wait::Rate),
    },
    Rule {
        when: When::Input,
        phrases: &["request entity too large", "payload too large"],
        codes: &["request_too_large"],
        verdict: Verdict::Reject(Reject::TooLarge),
    },
];

/// What a status means where the text said nothing known.
fn by_status(status: u16, shape: &Shape) -> Verdict {
    match status {
        400 | 405 | 415 | 422 => Verdict::Reject(Reject::BadRequest),
        401 => Verdict::Stop(Stop::BadKey),
        402 => Verdict::Stop(Stop::NoCredits),
        403 => Verdict::Stop(forbidden(shape)),
        404 if searched(&shape.message).contains("model") => Verdict::Reject(Reject::UnknownModel),
        413 => Verdict::Reject(Reject::TooLarge),
        429 => Verdict::Wait(Wait::Rate),
        503 | 529 => Verdict::Retry(Retry::Overloaded),
        // Whatever stands in front of the API does not trust or reach its TLS: it stays so.
        525 | 526 | 501 | 505 => Verdict::Reject(Reject::Other),
        408 | 409 | 500..=599 => Verdict::Retry(Retry::MaybeCharged),
        _ => Verdict::Reject(Reject::Other),
    }
}

/// A 403 ends everything on its key. A page for people comes from the edge in front of the API,
/// which blocks the caller's address.
fn forbidden(shape: &Shape) -> Stop {
    let text = searched(&shape.message);
    let blocked = ["blocked", "disabled", "suspended"].iter().any(|word| text.contains(word));
    if blocked || shape.html { Stop::Blocked } else { Stop::NoEntitlement }
}

/// An error that came with a success status has only its code. By then something may have been
/// generated, so that no code means "refused before generation".
fn by_code(code: &str) -> Verdict {
    match code {
        "permission-denied" | "permission_denied" | "permission_error" | "403" => {
            Verdict::Stop(Stop::NoEntitlement)
        }
        "401" => Verdict::Stop(Stop::BadKey),
        "429" => Verdict::Wait(Wait::Rate),
        "unavailable"
        | "the service is currently unavailable"
        | "internal"
        | "internal-error"
        | "deadline-exceeded"
        | "server_error"
        | "overloaded_error"
        | "api_error"
        | "408"
        | "409"
        | "500"
        | "502"
        | "503"
        | "504"
        | "529" => Verdict::Retry(Retry::MaybeCharged),
        "invalid-argument"
        | "invalid_argument"
        | "invalid_request_error"
        | "client specified an invalid argument"
        | "400"
        | "422" => Verdict::Reject(Reject::BadRequest),
        _ => Verdict::Reject(Reject::Other),
    }
}
