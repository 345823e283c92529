//! The command line.

use std::num::NonZeroU64;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use paceline::budget::{Price, parse_usd};
use paceline_core::{Money, UnixMillis};
use paceline_limiter::Profile;

pub(crate) use budgets::BudgetArgs;

mod budgets;

/// Use all of your Grok quota and none beyond it.
#[derive(Debug, Parser)]
#[command(name = "paceline", version, about, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a file of prompts within the limits; the same command goes on where it stopped
    Run(Box<RunArgs>),
    /// Show what the ledger says was used and spent, also while runs write to it
    Usage(UsageArgs),
    /// Show which limits are in force for a model, who says so, and what was learned of the server
    Limits(LimitsArgs),
    /// Start a simulated Grok server on 127.0.0.1
    Sim(SimArgs),
}

#[derive(Debug, Args)]
#[command(
    allow_negative_numbers = true,
    after_help = "Exit codes: 0 all rows done, 1 finished with failed rows, 2 usage or settings, \
    3 budget reached, 4 stopped by the server, an outage or a full disk, 130 interrupted (run it again to go on)."
)]
pub(crate) struct RunArgs {
    /// The file of prompts: JSONL, TSV or plain lines
    pub(crate) input: PathBuf,
    /// Where answers go, a JSON row each [default: INPUT.out.jsonl, or INPUT.sim.jsonl]
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
    /// The field or column that holds the prompt
    #[arg(long, value_name = "NAME")]
    pub(crate) field: Option<String>,
    /// The model
    #[arg(long, default_value = "grok-4.3")]
    pub(crate) model: String,
    /// A system message in front of every prompt
    #[arg(long, value_name = "TEXT")]
    pub(crate) system: Option<String>,
    /// The most visible output tokens per call; reasoning comes on top
    #[arg(long, value_name = "N", value_parser = limit)]
    pub(crate) max_output_tokens: Option<NonZeroU64>,
    /// Run against a simulated server on this machine: no key, no cost
    #[arg(long, conflicts_with_all = ["base_url", "api_key_env"])]
    pub(crate) simulate: bool,
    /// Where the API is
    #[arg(long, value_name = "URL", default_value = paceline::XAI_BASE_URL)]
    pub(crate) base_url: String,
    /// The environment variable that holds the key
    #[arg(long, value_name = "NAME", default_value = paceline::XAI_KEY_VARIABLE)]
    pub(crate) api_key_env: String,
    /// How limits are kept [default: grok for x.ai and this machine, smooth elsewhere]
    #[arg(long, value_enum)]
    pub(crate) profile: Option<ProfileName>,
    /// At most so many requests per second
    #[arg(long, value_name = "N", value_parser = limit)]
    pub(crate) rps: Option<NonZeroU64>,
    /// At most so many requests per minute; without --rps, per second max(2, N/48)
    #[arg(long, value_name = "N", value_parser = limit)]
    pub(crate) rpm: Option<NonZeroU64>,
    /// At most so many tokens per minute, input and output together
    #[arg(long, value_name = "N", value_parser = limit)]
    pub(crate) tpm: Option<NonZeroU64>,
    /// The part of every limit to use, above 0 up to 1
    #[arg(long, value_name = "F", default_value_t = 1.0, value_parser = share)]
    pub(crate) quota_share: f64,
    /// Spend at most this, over all runs into the same --out
    #[arg(long, value_name = "USD", value_parser = usd)]
    pub(crate) budget_usd: Option<Money>,
    #[command(flatten)]
    pub(crate) budgets: BudgetArgs,
    /// The price in US dollars per million tokens, such as 1.25/2.50
    #[arg(long, value_name = "IN/OUT", value_parser = price)]
    pub(crate) price: Option<Price>,
    /// Run only the first N rows
    #[arg(long, value_name = "N", value_parser = limit)]
    pub(crate) limit: Option<NonZeroU64>,
    /// Run rows again that failed before
    #[arg(long)]
    pub(crate) retry_failed: bool,
    /// Stop once more than N rows have failed
    #[arg(long, value_name = "N")]
    pub(crate) max_failures: Option<u64>,
    /// How long an outage may last before the run stops, such as 90s, 30m, 2h
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = duration)]
    pub(crate) max_outage: Duration,
    /// At most so many calls at once
    #[arg(long, value_name = "N", default_value = "1000", value_parser = limit)]
    pub(crate) max_in_flight: NonZeroU64,
    /// Also record every attempt in this ledger, which several runs may share
    #[arg(long, value_name = "FILE", env = "PACELINE_LEDGER")]
    pub(crate) ledger: Option<PathBuf>,
    /// What the ledger calls this run's attempts
    #[arg(long, value_name = "NAME", requires = "ledger")]
    pub(crate) tag: Option<String>,
    /// Where what was learned about calls is kept for the next run [default: the ledger or the output
    /// with .estimator at its end]; what was learned of the server is beside it, in .limits
    #[arg(long, value_name = "FILE")]
    pub(crate) estimator: Option<PathBuf>,
    /// Learn anew, and keep nothing of it
    #[arg(long, conflicts_with = "estimator")]
    pub(crate) no_estimator: bool,
    /// Write a summary for machines
    #[arg(long, value_name = "FILE.json")]
    pub(crate) report: Option<PathBuf>,
    /// Do not ask before a run that costs money
    #[arg(long, short = 'y')]
    pub(crate) yes: bool,
    /// No progress, no summary; only errors
    #[arg(long, short, conflicts_with = "verbose")]
    pub(crate) quiet: bool,
    /// Log every attempt on stderr; twice for more
    #[arg(long, short, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,
}

#[derive(Debug, Args)]
#[command(after_help = "Hours and days are those of UTC. Money is in three parts: known; maybe \
    (reserved by attempts that may have been charged though no answer came, or without an outcome); \
    and spent, which is both.")]
pub(crate) struct UsageArgs {
    /// The ledger
    #[arg(long, value_name = "FILE", env = "PACELINE_LEDGER")]
    pub(crate) ledger: PathBuf,
    /// What a line stands for
    #[arg(long, value_enum, default_value_t = By::Day)]
    pub(crate) by: By,
    /// Only attempts since then: 36h, 7d, 2026-11-01 or 2026-11-01T08:00:00Z
    #[arg(long, value_name = "WHEN", value_parser = since)]
    pub(crate) since: Option<Since>,
    /// One JSON object, money as exact decimals
    #[arg(long, conflicts_with = "csv")]
    pub(crate) json: bool,
    /// CSV with a head line, money as exact decimals
    #[arg(long)]
    pub(crate) csv: bool,
    /// Simulated runs instead of real ones
    #[arg(long)]
    pub(crate) simulated: bool,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Nothing is sent without --probe. A run keeps what it has learned in FILE.limits \
    beside its ledger or its output."
)]
pub(crate) struct LimitsArgs {
    /// What a run kept, such as prompts.out.jsonl.limits
    #[arg(value_name = "FILE.limits")]
    pub(crate) kept: Option<PathBuf>,
    /// The model
    #[arg(long, default_value = "grok-4.3")]
    pub(crate) model: String,
    /// Where the API is [default: the one server of the file, else https://api.x.ai/v1]
    #[arg(long, value_name = "URL")]
    pub(crate) base_url: Option<String>,
    /// The ledger whose runs kept it, where no file is named
    #[arg(long, value_name = "FILE", env = "PACELINE_LEDGER")]
    pub(crate) ledger: Option<PathBuf>,
    /// Ask the server by one small call, which costs some hundred tokens
    #[arg(long)]
    pub(crate) probe: bool,
    /// The environment variable that holds the key, for --probe
    #[arg(long, value_name = "NAME", default_value = paceline::XAI_KEY_VARIABLE)]
    pub(crate) api_key_env: String,
    /// One JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

/// What a line of `usage` stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum By {
    Hour,
    Day,
    Model,
    Tag,
}

/// A moment, or so long before now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Since {
    Moment(UnixMillis),
    Before(Duration),
}

impl Since {
    pub(crate) fn moment(self, now: UnixMillis) -> UnixMillis {
        match self {
            Self::Moment(moment) => moment,
            Self::Before(ago) => {
                let ago = i64::try_from(ago.as_millis()).unwrap_or(i64::MAX);
                UnixMillis::new(now.as_millis().saturating_sub(ago))
            }
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct SimArgs {
    /// The port on 127.0.0.1; 0 for any that is free
    #[arg(long, default_value_t = 8080)]
    pub(crate) port: u16,
    /// Requests per second [default: max(2, rpm/48), or the model's]
    #[arg(long, value_name = "N")]
    pub(crate) rps: Option<u64>,
    /// Requests per minute [default: the model's of tier 0]
    #[arg(long, value_name = "N")]
    pub(crate) rpm: Option<u64>,
    /// Tokens per minute [default: the model's of tier 0]
    #[arg(long, value_name = "N")]
    pub(crate) tpm: Option<u64>,
    /// How it counts and what it tells: a name of --list, or a TOML file such as window = "bucket"
    #[arg(long, value_name = "NAME|FILE")]
    pub(crate) rules: Option<String>,
    /// Show the names for --rules, and end
    #[arg(long)]
    pub(crate) list: bool,
    /// Other answers and delays
    #[arg(long, default_value_t = 0)]
    pub(crate) seed: u64,
    /// A SentencePiece model to count tokens with
    #[arg(long, value_name = "FILE")]
    pub(crate) tokenizer: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum ProfileName {
    /// xAI: requests guarded and spaced, tokens held until settled
    Grok,
    /// The same, and no window ever passes its limit
    Strict,
    /// Servers whose rules are not known: small bursts
    Smooth,
    /// Rolling windows only
    Burst,
    /// Plain token buckets
    Bucket,
}

impl From<ProfileName> for Profile {
    fn from(name: ProfileName) -> Self {
        match name {
            ProfileName::Grok => Self::Grok,
            ProfileName::Strict => Self::GrokStrict,
            ProfileName::Smooth => Self::Smooth,
            ProfileName::Burst => Self::Burst,
            ProfileName::Bucket => Self::Bucket,
        }
    }
}

fn limit(text: &str) -> Result<NonZeroU64, String> {
    text.parse().map_err(|_| "a limit is a whole number above 0".to_owned())
}

fn share(text: &str) -> Result<f64, String> {
    let share = text.parse::<f64>().ok().filter(|share| *share > 0.0 && *share <= 1.0);
    share.ok_or_else(|| "a share is a number above 0, at most 1".to_owned())
}

fn usd(text: &str) -> Result<Money, String> {
    if text.starts_with('-') {
        return Err("a budget is more than 0".to_owned());
    }
    let amount = parse_usd(text).map_err(|error| error.to_string())?;
    if amount > Money::ZERO { Ok(amount) } else { Err("a budget is more than 0".to_owned()) }
}

fn price(text: &str) -> Result<Price, String> {
    text.parse().map_err(|error: paceline::budget::MoneyError| error.to_string())
}

fn duration(text: &str) -> Result<Duration, String> {
    let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let seconds = match unit {
        "" | "s" => 1,
        "m" | "min" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => 0,
    };
    match number.parse::<u64>() {
        Ok(number) if seconds > 0 => Ok(Duration::from_secs(number.saturating_mul(seconds))),
        _ => Err("a time is a number with s, m, h or d, such as 90s or 2h".to_owned()),
    }
}

fn since(text: &str) -> Result<Since, String> {
    if let Ok(ago) = duration(text) {
        return Ok(Since::Before(ago));
    }
    crate::time::parse(text).map(Since::Moment).ok_or_else(|| {
        "a moment is 36h, 7d, 2026-11-01 or 2026-11-01T08:00:00Z, in UTC without an offset"
            .to_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }

    #[test]
    fn times_are_read_with_their_unit() {
        assert_eq!(duration("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("2h"), Ok(Duration::from_secs(7_200)));
        assert_eq!(since("2h"), Ok(Since::Before(Duration::from_secs(7_200))));
        assert_eq!(since("1970-01-02"), Ok(Since::Moment(UnixMillis::new(86_400_000))));
        assert!(since("2026-02-29").is_err() && since("yesterday").is_err());
        let now = UnixMillis::new(5_000);
        assert_eq!(Since::Before(Duration::from_secs(2)).moment(now), UnixMillis::new(3_000));
        assert!(duration("2 weeks").is_err() && duration("h").is_err() && duration("").is_err());
    }
}
