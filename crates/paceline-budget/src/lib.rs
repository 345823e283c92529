//! What a call will cost, what it may cost, and how many more fit: pure functions and dated data.
//!
//! Nobody publishes the tokenizer of a current Grok model, and hidden text adds to every prompt.
//! So the estimate learns: it counts classes of characters, weighs them, and corrects the weights
//! by the input tokens that every answer reports. Output and latency are distributions that
//! learn the same way.
//!
//! ```
//! use paceline_budget::{CallShape, Estimator, Features, PriceTable};
//!
//! let estimator = Estimator::new();
//! let mut features = Features::of_text("Name three rivers in Asia.");
//! features.add_message();
//! let estimate = estimator.estimate(&CallShape::new("grok-4.3".into(), features));
//! let price = PriceTable::builtin().price(&"grok-4.3".into()).expect("a known model");
//! let most = price.cost_of(estimate.input().upper_amount(), estimate.output().upper_amount());
//! assert!(most.to_usd_lossy() < 0.05);
//! ```
//!
//! | part | holds |
//! |---|---|
//! | [`Features`], [`Estimator`] | input, output and time of a call, learned per model |
//! | [`OutputModel`], [`LatencyModel`] | how long answers are, and how long they take |
//! | [`PriceTable`], [`Price`], [`Terms`] | prices as dated data, costs in integers |
//! | [`tiers`] | the limits of models and tiers, as dated data |
//! | [`Budgets`] | caps on money or tokens by hour, day, month, window or run, in nested scopes |
//! | [`SpendingCap`] | one cap on money, kept by the admission |
//! | [`forecast()`], [`AverageUse`] | how many more requests fit, what binds first, and when |
//! | [`Record`] | the account of every attempt: intent, then outcome |
//!
//! It reads no clock, does no I/O and makes no call.
//!
//! | feature | default | adds |
//! |---|---|---|
//! | `tiktoken` | off | `O200k`, a public tokenizer as one more witness beside the classes |
//! | `kitoken` | off | `FileTokenizer`, one that the user has as a file; needs Rust 1.92 |

mod budget;
mod cap;
mod estimate;
mod features;
mod forecast;
mod input;
mod latency;
mod output;
mod prices;
mod record;
mod spread;
mod terms;
pub mod tiers;
mod tokenizer;

pub use budget::{Budget, BudgetError, Budgets, Mode, Notice, Period, Spend, Standing};
pub use cap::{CapError, SpendingCap};
pub use estimate::{
    Accuracy, CallShape, Endpoint, Estimate, Estimator, EstimatorState, Job, ModelTotal, Observed,
};
pub use features::Features;
pub use forecast::{AverageUse, Averages, Fit, Forecast, Outlook, Pace, Room, forecast};
pub use input::{InputModel, InputPrior, InputState, JobTotal, StateError, TotalRange};
pub use latency::{LatencyModel, StreamAge, Timing};
pub use output::{CapRule, OutputKey, OutputModel};
pub use prices::{
    CostError, MoneyError, Price, PriceTable, TicksPerInput, TicksPerOutput, parse_usd,
};
pub use record::{AttemptId, Ending, Intent, Outcome, Record, RecordError, Recorded};
pub use spread::Distribution;
pub use terms::{Region, Service, Terms, Tool};

#[cfg(feature = "tiktoken")]
pub use tokenizer::O200k;
pub use tokenizer::Tokenizer;
#[cfg(feature = "kitoken")]
pub use tokenizer::file::{FileTokenizer, TokenizerError};

/// For the program that fits the tables of this crate; no part of its promises.
#[doc(hidden)]
pub mod fitting {
    pub use crate::features::{
        HAN_FIRST, HANGUL_FIRST, PAIR_BITS, SURPRISE_MOST, pair_place, two_before,
    };
}

/// The example of the README, compiled and run.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct ReadmeDoctests;
