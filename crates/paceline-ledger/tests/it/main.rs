//! The ledger as its users see it.

mod files;
mod kill;
mod rows;
mod shared;
mod support;
