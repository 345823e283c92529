//! The models this server knows: their limits, prices and hidden text. Dated data.
//!
//! Sources: docs.x.ai rate limits and prices of August to October 2026 (tier 0), recorded
//! traffic for the hidden text. A table of the simulator's own, shared with nobody.

use crate::rules::Limits;

/// What is known of a model.
#[derive(Clone, Copy, Debug)]
pub(super) struct Model {
    pub(super) name: &'static str,
    pub(super) limits: Limits,
    /// Ticks of 10^-10 US dollars per token: input, cached input, output.
    pub(super) ticks: [u64; 3],
    /// Tokens that every chat has on top of its messages.
    pub(super) hidden: u64,
    pub(super) reasons: Reasons,
    pub(super) context: u64,
}

/// Whether part of the output is reasoning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reasons {
    Yes,
    No,
}

const fn model(name: &'static str, rps: u64, rpm: u64, tpm: u64, ticks: [u64; 3]) -> Model {
    let limits = Limits::new().rps(rps).rpm(rpm).tpm(tpm);
    Model { name, limits, ticks, hidden: 130, reasons: Reasons::Yes, context: 500_000 }
}

const FLAGSHIP: [u64; 3] = [20_000, 5_000, 60_000];
const MIDDLE: [u64; 3] = [12_500, 2_000, 25_000];

/// Every model, the newest first.
pub(super) const MODELS: [Model; 9] = [
    Model { hidden: 168, ..model("grok-4.7", 150, 7_200, 50_000_000, FLAGSHIP) },
    Model { hidden: 168, ..model("grok-4.6", 150, 7_200, 50_000_000, FLAGSHIP) },
    Model { hidden: 168, ..model("grok-4.5", 150, 7_200, 50_000_000, [20_000, 3_000, 60_000]) },
    Model { context: 1_000_000, ..model("grok-4.3", 37, 1_800, 10_000_000, MIDDLE) },
    Model {
        reasons: Reasons::No,
        hidden: 168,
        ..model("grok-4.20-0309-non-reasoning", 37, 1_800, 10_000_000, MIDDLE)
    },
    model("grok-4.20-0309-reasoning", 37, 1_800, 10_000_000, MIDDLE),
    Model { hidden: 7, ..model("grok-3-mini", 10, 480, 4_000_000, [3_000, 750, 5_000]) },
    Model {
        hidden: 6,
        reasons: Reasons::No,
        ..model("grok-2-1212", 18, 900, 4_000_000, [20_000, 20_000, 100_000])
    },
    Model {
        hidden: 6,
        reasons: Reasons::No,
        ..model("grok-2", 18, 900, 4_000_000, [20_000, 20_000, 100_000])
    },
];

/// A model by its name or its alias `-latest`, which shares its limits.
pub(super) fn find(name: &str) -> Option<&'static Model> {
    let name = name.strip_suffix("-latest").unwrap_or(name);
    MODELS.iter().find(|model| model.name == name)
}

impl Model {
    /// The list price of a call.
    pub(super) const fn cost(&self, input: u64, output: u64) -> u64 {
        input * self.ticks[0] + output * self.ticks[2]
    }
}
