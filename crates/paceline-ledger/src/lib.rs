//! The account of every call: its intent before it is sent, its outcome after, in one SQLite file.
//!
//! A budget is only as good as what it knows of the past. So every attempt has a row before it
//! leaves, every total is added up from rows, and a program that is killed finds out what it may
//! have spent.
//!
//! ```
//! use paceline_budget::{AttemptId, Ending, Intent, Outcome, Record};
//! use paceline_core::{LimitKey, Money, UnixMillis};
//! use paceline_ledger::{Ledger, Range, RunInfo};
//!
//! # let folder = tempfile::tempdir()?;
//! # let path = folder.path().join("ledger.db");
//! # fn block_on<F: Future>(future: F) -> F::Output {
//! #     let waker = std::task::Waker::noop();
//! #     let mut context = std::task::Context::from_waker(waker);
//! #     let mut future = std::pin::pin!(future);
//! #     loop {
//! #         if let std::task::Poll::Ready(out) = future.as_mut().poll(&mut context) { return out }
//! #         std::thread::yield_now();
//! #     }
//! # }
//! let ledger = Ledger::open(&path, &RunInfo::new("summaries"))?;
//! let (id, now) = (AttemptId::new("row-1", 1), UnixMillis::new(1_795_000_000_000));
//! let intent = Intent::new(id.clone(), "grok-4.3".into(), now).cost(Money::from_ticks(900));
//! block_on(ledger.intent(&intent))?; // committed: now it may be sent
//! ledger.outcome(&Outcome::new(id, now, Ending::Answered).cost(Money::from_ticks(412)))?;
//! ledger.close()?;
//!
//! // What was spent since midnight, for people.
//! let today = Range::since(UnixMillis::new(1_794_960_000_000)).of(LimitKey::All);
//! assert_eq!(ledger.reader()?.totals(&today)?.spent(), Money::from_ticks(412));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! A budget of the next program starts with what was really spent:
//!
//! ```
//! use std::ops::ControlFlow;
//!
//! use paceline_budget::{Budget, Budgets, Period, Spend};
//! use paceline_core::{Money, UnixMillis};
//! use paceline_ledger::{Range, Reader};
//!
//! # use paceline_budget::{AttemptId, Ending, Outcome, Record};
//! # use paceline_ledger::{Ledger, RunInfo};
//! # let folder = tempfile::tempdir()?;
//! # let path = folder.path().join("ledger.db");
//! # let now = UnixMillis::new(1_795_000_000_000);
//! # let ledger = Ledger::open(&path, &RunInfo::new("summaries"))?;
//! # let id = AttemptId::new("row-1", 1);
//! # ledger.outcome(&Outcome::new(id, now, Ending::Answered).cost(Money::from_ticks(412)))?;
//! # ledger.close()?;
//! let mut budgets = Budgets::new();
//! budgets.add(Budget::money(Money::from_usd(10), Period::Day)?)?;
//! // A day back and one for the calls that were under way at midnight.
//! let since = UnixMillis::new(now.as_millis() - 2 * 86_400_000);
//! Reader::open(&path)?.for_each(&Range::since(since), |attempt| {
//!     budgets.restore([Spend::from(&attempt)]);
//!     ControlFlow::Continue(())
//! })?;
//! assert_eq!(budgets.standings(now).next().map(|standing| standing.spent), Some(412));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! [`Ledger`] implements [`Record`](paceline_budget::Record), so a client takes it as it is.
//! [`Reader`] reads, also while programs write. [`Others`] follows what other programs spend meanwhile,
//! for a budget that they share.
//!
//! # What is promised
//! - An intent is committed before its future is ready; the attempt leaves after that. Intents
//!   and outcomes that arrive meanwhile are committed together.
//! - A killed program loses no row of an attempt that was sent, and counts none twice. An attempt
//!   without an outcome counts as spent at what was reserved, and is told apart as such.
//! - Several programs may share one file. A name of a call has to be unique within one opening.
//! - A file that is something else, of a later version or damaged is refused by name, with the
//!   way out, and not written. A file that is made here has mode 0600; one that is there keeps
//!   its mode.
//! - While another program keeps the file to itself, intents wait, and [`Ledger::held_up`] says since
//!   when; nothing is lost by it.
//! - Where the disk is full or fails, the first failure is the last: no intent is taken any more,
//!   so nothing is sent; answers of what is in flight go on. Their outcomes stay in memory and
//!   are tried once more by [`Ledger::close`]; those that fail again count at what was reserved.
//!
//! # What is not
//! A loss of power, or a crash of the operating system, may lose the commits of the last moments,
//! as the file is in WAL mode with `synchronous=NORMAL`: what was committed is with the operating
//! system, and on the disk once the log is folded into the file (every 4 MiB, and at the end).
//! Nothing is torn then: the file is as it was after some earlier commit. Attempts since then are
//! missing, so a budget restored from it may be short by them. The file has to be on a local disk.
//!
//! SQLite keeps no checksums. Damage to how a file is built is found; a byte that changes within a
//! figure is not, and the figure is another one then. What no call can have spent is not believed
//! ([`Attempt::is_absurd`]).
//!
//! The time it reads is the wall clock, for the start of a run; the moments of rows are the
//! caller's. It knows no HTTP, no prices and no limits. There are no features.

mod error;
mod fold;
mod follow;
mod ledger;
mod query;
mod queue;
mod row;
mod schema;

pub use error::{LedgerError, LedgerErrorKind};
pub use follow::{Change, Others};
pub use ledger::{Ledger, RunInfo};
pub use query::{Group, Grouping, Range, Reader, Totals};
pub use row::Attempt;

/// The example of the README, compiled and run.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct ReadmeDoctests;
