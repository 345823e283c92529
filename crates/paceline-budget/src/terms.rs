//! On what terms a call is made: how soon, where, and with which tools. Each changes its price.
//!
//! Source: docs.x.ai/developers/pricing and its guides, September and October 2026.

use paceline_core::Money;

/// On what terms a call is made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Terms {
    pub(crate) service: Service,
    pub(crate) region: Region,
    pub(crate) fees: Money,
}

/// How soon a call is answered. What counts is the tier that the answer names, not the one asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Service {
    /// As usual.
    #[default]
    Default,
    /// Before others: twice the price of tokens.
    Priority,
    /// Within a day: a fifth less with grok-4.3 and the models of grok-4.20.
    Batch,
}

/// Where a call is answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Region {
    /// Anywhere.
    #[default]
    Global,
    /// `us.api.x.ai`: a tenth more for tokens.
    UnitedStates,
}

/// A tool that the server calls, at a fee for each call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Tool {
    /// $5 for 1,000 calls.
    WebSearch,
    /// $5 for 1,000 calls.
    XSearch,
    /// $5 for 1,000 calls.
    CodeExecution,
    /// $10 for 1,000 calls.
    AttachmentSearch,
    /// Of collections or files: $2.50 for 1,000 calls.
    FileSearch,
    /// $0.05 for an image, the dearest of those listed.
    ImageGeneration,
    /// The Live Search of before: $25 for 1,000 sources, counted by source.
    LiveSearch,
}

impl Tool {
    /// What one call costs.
    pub const fn fee(self) -> Money {
        Money::from_ticks(match self {
            Self::WebSearch | Self::XSearch | Self::CodeExecution => 50_000_000,
            Self::AttachmentSearch => 100_000_000,
            Self::FileSearch => 25_000_000,
            Self::ImageGeneration => 500_000_000,
            Self::LiveSearch => 250_000_000,
        })
    }
}

impl Terms {
    /// What `/v1/responses` charges where content violates the usage guidelines and that is seen before
    /// anything is generated: $0.05. At other endpoints the request is charged as any other.
    pub const VIOLATION_FEE: Money = Money::from_ticks(500_000_000);

    /// As usual, anywhere, without tools.
    pub fn new() -> Self {
        Self::default()
    }

    /// At another tier of service.
    #[must_use]
    pub const fn service(mut self, service: Service) -> Self {
        self.service = service;
        self
    }

    /// In another region.
    #[must_use]
    pub const fn region(mut self, region: Region) -> Self {
        self.region = region;
        self
    }

    /// With so many calls of a tool, added to those that were said before.
    #[must_use]
    pub fn tool_calls(mut self, tool: Tool, count: u32) -> Self {
        let fee = tool.fee().as_ticks() * i128::from(count);
        self.fees += Money::from_ticks(fee);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thousand_calls_cost_what_is_listed() {
        let cost = |tool| Terms::new().tool_calls(tool, 1_000).fees;
        assert_eq!(cost(Tool::WebSearch), Money::from_usd(5));
        assert_eq!(cost(Tool::AttachmentSearch), Money::from_usd(10));
        assert_eq!(cost(Tool::LiveSearch), Money::from_usd(25));
        assert_eq!(cost(Tool::ImageGeneration), Money::from_usd(50));
        assert_eq!(cost(Tool::FileSearch).as_ticks() * 2, Money::from_usd(5).as_ticks());
    }
}
