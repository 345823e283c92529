//! The benchmark `run`: whole runs of the program, from outside, by its command line alone.
//!
//! It links nothing of ours: what a run did is read from OUT, from the report, from the process
//! and from the server's own `/stats`. Invariant: every item checks that each row of the input is
//! in OUT exactly once and that nobody saw a 429, beside what it measures.

mod generated;
mod http;
mod kills;
mod memory;
mod out;
mod program;
mod prompts;
mod report;
mod server;

use super::Item;

/// What is measured, in this order.
///
/// Each item yields, for each of its runs, `rows_once` (input rows that are in OUT exactly once,
/// without an error), `rows_wrong` (rows of OUT that are repeated, failed or not of the input) and
/// `status_429`, as the program's report counts them, or the server where it is a process of its
/// own.
pub(super) const ITEMS: &[Item] = &[
    Item {
        name: "gsm8k",
        about: "1,319 word problems as grok-4.3 (about 1 min). send_span: seconds from the first \
                `sent_at` to the last; send_span_share: that over the least that the rules allow, \
                35 s; delay_bound: what the limiter allowed for one way",
        measure: prompts::gsm8k,
    },
    Item {
        name: "tpm",
        about: "the same at 60,000 tokens a minute (about 10 min). used_report: share of the quota \
                used, by the report; used_out: the same from usage and times in OUT, in whole \
                minutes after the first until the last send",
        measure: prompts::tokens_per_minute,
    },
    Item {
        name: "mgsm",
        about: "250 word problems in each of five languages as TSV (about 1 min). \
                LANG.input_error: mean of |estimate - reported| / reported input tokens over the run",
        measure: prompts::languages,
    },
    Item {
        name: "kills",
        about: "ten SIGKILLs at random moments against one server at 480 requests a minute, then \
                to the end (about 4 min). status_429 and sent_again (requests beyond one a row) \
                are the server's own counts over all eleven starts",
        measure: kills::measure,
    },
    Item {
        name: "memory",
        about: "100,000 generated rows and 1,000 at 500 requests a second (about 4 min). \
                peak_ROWS: the most resident memory of the client's process, from its /proc status \
                (Linux only); per_row: the difference, a row; rows_per_s: with the simulated \
                server's latency",
        measure: memory::measure,
    },
    // Still to come: rows per second through the mock transport, without a server.
];
