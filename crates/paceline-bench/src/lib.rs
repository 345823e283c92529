//! Measurements that link our crates, as opposed to those of the program from outside.
//!
//! It is no part of the test command and is never published. Run it by `cargo xtask bench`.
//!
//! | module | holds |
//! |---|---|
//! | [`admission`] | one client against one server in virtual time: how full, how often refused |
//! | [`estimator`] | how good the estimates of a call are, on texts not fitted on |
//! | [`ledger`] | what recording costs, and what it survives |
//! | [`limiter`] | what a decision costs, beside its peers in the same run |
//! | [`overhead`] | what the client costs beside bare reqwest |
//! | [`unknown`] | the whole client against servers whose rule it does not know |
//! | [`program`] | what the programs that measure have in common |

pub mod admission;
mod cpu;
pub mod estimator;
pub mod ledger;
pub mod limiter;
mod locked;
pub mod overhead;
pub mod program;
mod row;
pub mod unknown;
