//! Pages to read: how to choose, what is promised, how it compares. No code.

#[doc = include_str!("../docs/which_profile.md")]
///
/// [`Profile::Smooth`]: crate::Profile::Smooth
/// [`Profile::Burst`]: crate::Profile::Burst
/// [`Profile::Bucket`]: crate::Profile::Bucket
/// [`Profile::Grok`]: crate::Profile::Grok
/// [`Profile::GrokStrict`]: crate::Profile::GrokStrict
/// [`Profile::limit`]: crate::Profile::limit
/// [`ChargeRule::Flow`]: crate::ChargeRule::Flow
/// [`ChargeRule::Completion`]: crate::ChargeRule::Completion
/// [`ChargeRule::HeldMax`]: crate::ChargeRule::HeldMax
/// [`Dimension::InFlight`]: paceline_core::Dimension::InFlight
/// [`Limit::new`]: crate::Limit::new
/// [`Limiter::observe`]: crate::Limiter::observe
/// [`Limiter::save`]: crate::Limiter::save
pub mod which_profile {}

#[doc = include_str!("../docs/promises.md")]
pub mod promises {}

#[doc = include_str!("../docs/compared_with_governor.md")]
pub mod compared_with_governor {}
