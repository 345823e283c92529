//! What a server is like, as a file says it.
//!
//! It counts nothing. Invariant: rules that exist make a server that can start; a word that is not
//! known is an error, never left out.

use std::str::FromStr;
use std::time::Duration;

use serde::Deserialize;

use super::options::{RateHeaders, ServerOptions};
use crate::engine::{Charge, Shape};
use crate::rules::Limits;
use crate::token_rule::{InvalidTokenRule, TokenRule};

/// What a server is like: how it counts tokens, what it allows, and what its answers tell of that.
///
/// Written as TOML, each word optional:
///
/// | word | is | default |
/// |---|---|---|
/// | `window` | how the minute of tokens forgets: `sliding`, `aligned`, `two-counters`, `slices`, `bucket` | `sliding` |
/// | `charge` | when a call is charged: on `arrival`, on `completion`, or `held` at the most it could use | `completion` |
/// | `capacity` | what a bucket holds, in tokens, 1 or more | the limit |
/// | `slices` | of how many slices a window is, 1 or more | 6 |
/// | `requests_per_second`, `requests_per_minute`, `tokens_per_minute` | what is allowed | the model's, of tier 0 |
/// | `rate_headers` | whether answers carry `x-ratelimit-*` | `true` |
/// | `retry_after_s` | seconds that a refusal says in `Retry-After` | none |
/// | `pristine_every` | every n-th answer's headers show nothing used; 0 is never | 20 |
///
/// # Examples
/// ```
/// use paceline_sim::http::{ServerOptions, ServerRules};
///
/// let rules: ServerRules = r#"
///     window = "bucket"
///     capacity = 15000
///     charge = "arrival"
///     tokens_per_minute = 60000
///     rate_headers = false
/// "#.parse()?;
/// let options = rules.apply(ServerOptions::new());
/// # let _ = options;
/// let error = "windows = 6".parse::<ServerRules>().unwrap_err();
/// assert!(error.to_string().contains("unknown field `windows`"), "{error}");
/// # Ok::<(), paceline_sim::http::RulesError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServerRules {
    token_rule: TokenRule,
    limits: Limits,
    rate_headers: RateHeaders,
    retry_after: Option<Duration>,
    pristine_every: Option<u64>,
}

/// Why a text is no rules of a server.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RulesError {
    /// It is no TOML, or has a word or a value that is not known.
    #[error("{0}")]
    Text(
        /// Where and why.
        String,
    ),
    /// A word that means nothing beside the window that was named.
    #[error("`{word}` is for window = \"{window}\" alone")]
    Misplaced {
        /// The word.
        word: &'static str,
        /// The window that it is for.
        window: &'static str,
    },
    /// A number that can't be.
    #[error(transparent)]
    Number(#[from] InvalidTokenRule),
}

/// The file as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    window: Option<Window>,
    charge: Option<When>,
    capacity: Option<u64>,
    slices: Option<u32>,
    requests_per_second: Option<u64>,
    requests_per_minute: Option<u64>,
    tokens_per_minute: Option<u64>,
    rate_headers: Option<bool>,
    retry_after_s: Option<u32>,
    pristine_every: Option<u64>,
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Window {
    Sliding,
    Aligned,
    TwoCounters,
    Slices,
    Bucket,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum When {
    Arrival,
    Completion,
    Held,
}

/// Where a window of slices says nothing of their number: ten seconds each.
const SLICES: u32 = 6;

impl ServerRules {
    /// One of the [named](TokenRule::NAMED) rules, with the model's limits and all headers.
    pub fn named(name: &str) -> Option<Self> {
        TokenRule::named(name).map(Self::of)
    }

    const fn of(token_rule: TokenRule) -> Self {
        Self {
            token_rule,
            limits: Limits::new(),
            rate_headers: RateHeaders::Sent,
            retry_after: None,
            pristine_every: None,
        }
    }

    /// How tokens are counted.
    pub const fn token_rule(&self) -> TokenRule {
        self.token_rule
    }

    /// What is allowed, as far as that is said.
    pub const fn limits(&self) -> Limits {
        self.limits
    }

    /// The options of a server that is like this.
    #[must_use]
    pub fn apply(&self, mut options: ServerOptions) -> ServerOptions {
        options = options.token_rule(self.token_rule).rate_headers(self.rate_headers);
        if self.limits != Limits::new() {
            options = options.limits(self.limits);
        }
        if let Some(after) = self.retry_after {
            options = options.retry_after(after);
        }
        if let Some(every) = self.pristine_every {
            options = options.pristine_every(every);
        }
        options
    }
}

impl FromStr for ServerRules {
    type Err = RulesError;

    fn from_str(text: &str) -> Result<Self, RulesError> {
        let written: Written = toml::from_str(text)
            .map_err(|error| RulesError::Text(error.to_string().trim_end().to_owned()))?;
        let window = written.window.unwrap_or(Window::Sliding);
        if written.capacity.is_some() && window != Window::Bucket {
            return Err(RulesError::Misplaced { word: "capacity", window: "bucket" });
        }
        if written.slices.is_some() && window != Window::Slices {
            return Err(RulesError::Misplaced { word: "slices", window: "slices" });
        }
        let charge = match written.charge {
            Some(When::Arrival) => Charge::Arrival,
            Some(When::Held) => Charge::Held,
            Some(When::Completion) | None => Charge::Completion,
        };
        let token_rule = match (window, written.capacity) {
            (Window::Sliding, _) => TokenRule::new(Shape::Sliding, charge)?,
            (Window::Aligned, _) => TokenRule::new(Shape::Aligned, charge)?,
            (Window::TwoCounters, _) => TokenRule::new(Shape::TwoCounter, charge)?,
            (Window::Slices, _) => {
                let count = written.slices.unwrap_or(SLICES);
                TokenRule::new(Shape::Slices { count }, charge)?
            }
            (Window::Bucket, Some(capacity)) => TokenRule::new(Shape::Bucket { capacity }, charge)?,
            (Window::Bucket, None) => TokenRule::bucket(charge),
        };
        let mut limits = Limits::new();
        limits.rps = written.requests_per_second;
        limits.rpm = written.requests_per_minute;
        limits.tpm = written.tokens_per_minute;
        let has_headers = written.rate_headers.unwrap_or(true);
        Ok(Self {
            limits,
            rate_headers: if has_headers { RateHeaders::Sent } else { RateHeaders::Absent },
            retry_after: written.retry_after_s.map(|s| Duration::from_secs(s.into())),
            pristine_every: written.pristine_every,
            ..Self::of(token_rule)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<ServerRules, String> {
        text.parse().map_err(|error: RulesError| error.to_string())
    }

    #[test]
    fn nothing_is_a_server_like_xais() {
        assert_eq!(read(""), Ok(ServerRules::of(TokenRule::GROK)));
        assert_eq!(ServerRules::named("sliding-completion"), read("").ok());
        assert_eq!(ServerRules::named("sliding"), None);
    }

    #[test]
    fn each_window_and_charge_is_what_it_says() {
        for (window, charge, says) in [
            ("sliding", "arrival", "a sliding minute, charged when a call arrives"),
            (
                "aligned",
                "held",
                "a minute of the clock, charged at the most it could use until it is over",
            ),
            (
                "two-counters",
                "completion",
                "two minutes of the clock, weighed, charged when a call is over",
            ),
            ("slices", "arrival", "a minute in 6 slices, charged when a call arrives"),
            ("bucket", "completion", "a bucket that holds the limit, charged when a call is over"),
        ] {
            let text = format!("window = \"{window}\"\ncharge = \"{charge}\"");
            let rules = read(&text).expect("legal");
            assert_eq!(rules.token_rule().to_string(), says);
        }
        let rules =
            read("window = \"bucket\"\ncapacity = 9\ntokens_per_minute = 70").expect("legal");
        let rule = rules.token_rule().of(70);
        assert_eq!((rule.most(), rules.limits()), (9, Limits::new().tpm(70)));
    }

    #[test]
    fn what_can_not_be_is_named() {
        for (text, says) in [
            ("window = \"round\"", "unknown variant `round`"),
            ("windows = \"sliding\"", "unknown field `windows`"),
            ("tokens_per_minute = -1", "tokens_per_minute"),
            ("tokens_per_minute = \"many\"", "tokens_per_minute"),
            ("capacity = 5", "`capacity` is for window = \"bucket\" alone"),
            ("slices = 5", "`slices` is for window = \"slices\" alone"),
            ("window = \"bucket\"\ncapacity = 0", "1 token or more"),
            ("window = \"slices\"\nslices = 0", "1 slice or more"),
            ("window = ", "line 1"),
        ] {
            let error = read(text).expect_err(text);
            assert!(error.contains(says), "{text}: {error}");
        }
    }
}
