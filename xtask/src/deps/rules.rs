//! The rules themselves: for each crate, whom of ours and whose of others it may depend on.
//!
//! Data only. To let a crate use one more, add it here, in the same commit and with the reason in
//! its message.

use super::facts::When;

/// What one crate may depend on, directly, outside its tests unless said otherwise.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rule {
    /// The crate.
    pub(super) name: &'static str,
    /// The crates of ours.
    pub(super) ours: &'static [&'static str],
    /// The crates of ours that only its tests, examples and benches may use beside these.
    pub(super) ours_in_tests: &'static [&'static str],
    /// Crates of others that are always there.
    pub(super) always: &'static [&'static str],
    /// Those that a default feature brings.
    pub(super) by_default: &'static [&'static str],
    /// Those that only a feature brings which is off by default.
    pub(super) on_request: &'static [&'static str],
}

impl Rule {
    /// Whether a crate of others may be used under this condition.
    pub(super) fn allows(&self, other: &str, when: When) -> bool {
        let lists: &[&[&str]] = match when {
            When::Always => &[self.always],
            When::ByDefault => &[self.always, self.by_default],
            When::OnRequest => &[self.always, self.by_default, self.on_request],
        };
        lists.iter().any(|list| list.contains(&other))
    }
}

const NONE: &[&str] = &[];

/// Packages of others that state a later Rust than some crate that can be built with them: a feature
/// brings them that is off by default, and whose docs say so. Whoever always builds with them states it.
pub(super) const LATER: &[&str] = &["kitoken"];

/// Every crate of the workspace.
pub(super) const RULES: &[Rule] = &[
    Rule {
        name: "paceline-core",
        ours: NONE,
        ours_in_tests: NONE,
        always: NONE,
        by_default: NONE,
        on_request: &["serde"],
    },
    Rule {
        name: "paceline-limiter",
        ours: &["paceline-core"],
        // The simulator judges it.
        ours_in_tests: &["paceline-sim"],
        always: NONE,
        by_default: NONE,
        on_request: &["quanta", "serde", "spin", "tokio"],
    },
    Rule {
        name: "paceline-budget",
        ours: &["paceline-core"],
        ours_in_tests: NONE,
        always: &["serde", "thiserror"],
        by_default: NONE,
        on_request: &["kitoken", "tiktoken-rs"],
    },
    Rule {
        // SQLite's only home. The facade knows the seam `Record` and not this crate.
        name: "paceline-ledger",
        ours: &["paceline-budget", "paceline-core"],
        ours_in_tests: NONE,
        always: &["rusqlite"],
        by_default: NONE,
        on_request: NONE,
    },
    Rule {
        name: "paceline-transport",
        ours: &["paceline-core"],
        ours_in_tests: NONE,
        always: &[
            "async-trait",
            "bytes",
            "http",
            "http-body",
            "http-body-util",
            "httpdate",
            "jiff",
            "serde_json",
            "sfv",
            "thiserror",
            "zeroize",
        ],
        by_default: &["h2", "hyper", "reqwest", "rustls", "tokio"],
        on_request: NONE,
    },
    Rule {
        // Never the limiter, the estimator or the parsers, in tests either: it judges them.
        name: "paceline-sim",
        ours: &["paceline-core"],
        ours_in_tests: NONE,
        always: &["thiserror"],
        by_default: &[
            "axum",
            "bytes",
            "http",
            "http-body",
            "http-body-util",
            "kitoken",
            "rand",
            "rand_distr",
            "serde",
            "serde_json",
            "tiktoken-rs",
            "tokio",
            "toml",
        ],
        on_request: NONE,
    },
    Rule {
        name: "paceline",
        ours: &["paceline-core", "paceline-limiter", "paceline-budget", "paceline-transport"],
        ours_in_tests: &["paceline-sim"],
        always: &[
            "bytes",
            "http",
            "http-body",
            "rand",
            "serde",
            "serde_json",
            "thiserror",
            "tokio",
            "tracing",
        ],
        // For those who put it below the layer; the transport has it in the tree already.
        by_default: &["reqwest"],
        on_request: &["async-openai", "futures-core", "metrics", "tower-layer", "tower-service"],
    },
    Rule {
        name: "paceline-cli",
        ours: &[
            "paceline",
            "paceline-budget",
            "paceline-core",
            "paceline-ledger",
            "paceline-limiter",
            "paceline-sim",
            "paceline-transport",
        ],
        ours_in_tests: NONE,
        always: &[
            "clap",
            "futures-util",
            "jiff",
            "serde",
            "serde_json",
            "sha2",
            "thiserror",
            "tokio",
            "tracing",
            "tracing-subscriber",
        ],
        by_default: NONE,
        on_request: NONE,
    },
    Rule {
        // Measures; never published.
        name: "paceline-bench",
        ours: &[
            "paceline",
            "paceline-budget",
            "paceline-core",
            "paceline-ledger",
            "paceline-limiter",
            "paceline-sim",
        ],
        ours_in_tests: NONE,
        always: &[
            "bytes",
            "clap",
            "dhat",
            // The peers of the limiter.
            "governor",
            "http",
            // The tokenizers that estimates are judged by.
            "kitoken",
            "leaky-bucket",
            "rand",
            "rand_distr",
            // The peer of the client.
            "reqwest",
            "rustix",
            "serde_json",
            "throttle-net",
            "spin",
            "tiktoken-rs",
            "tokio",
            "tower",
        ],
        by_default: NONE,
        on_request: NONE,
    },
    Rule {
        // Small, so that the first thing to run compiles fast.
        name: "xtask",
        ours: NONE,
        ours_in_tests: NONE,
        always: &["cargo_metadata", "clap", "serde_json"],
        by_default: NONE,
        on_request: NONE,
    },
];
