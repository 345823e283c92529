//! Ten SIGKILLs at random moments against a server that stays, then the same command to the end.
//!
//! The server is a process of its own, so its counts go over all starts of the client.

use std::path::Path;
use std::time::Duration;

use super::out::Out;
use super::program::{Arguments, complete, start};
use super::prompts::{GSM8K, GSM8K_ROWS};
use super::server::Server;
use crate::bench::Bench;
use crate::bench::chance::Chance;
use crate::bench::row::{Compare, Row};
use crate::shell::{Outcome, say};

/// Requests a minute, on both sides, as a user of such an account would say it.
const RPM: u64 = 480;

/// How often the client is killed.
const KILLS: u64 = 10;

/// A client is killed so long after its start: from before its first send to well into its run.
/// Ten times the longest is less than the 165 s that 1,319 rows take at least.
const SHORTEST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(12);

pub(super) fn measure(bench: &Bench) -> Outcome<Vec<Row>> {
    let folder = bench.fresh_folder("kills")?;
    let server = Server::start(bench, &[("--rpm", RPM)], &folder.join("server.log"))?;
    let (out, log) = (folder.join("out.jsonl"), folder.join("client.log"));
    let arguments = arguments(&bench.prompts(GSM8K)?, &out, server.base_url());
    let mut chance = Chance::new(bench.seed);
    for kill in 1..=KILLS {
        let pause = chance.between(SHORTEST, LONGEST);
        start(bench, &arguments, &log)?.kill_after(pause)?;
        let stats = server.stats()?;
        say(format!(
            "kill {kill} after {:.1} s: {} requests have arrived, {} were refused",
            pause.as_secs_f64(),
            stats.arrived,
            stats.status_429
        ));
    }
    complete(bench, &arguments, &log)?;
    let stats = server.stats()?;
    let mut rows = vec![Row::count("kills.kills", KILLS, "kills")];
    rows.extend(Out::read(&out)?.rows("kills", GSM8K_ROWS));
    rows.push(
        Row::count("kills.status_429", stats.status_429, "answers").target(Compare::Exactly, 0.0),
    );
    let again = stats.arrived.saturating_sub(GSM8K_ROWS);
    rows.push(Row::count("kills.sent_again", again, "requests"));
    Ok(rows)
}

fn arguments(prompts: &Path, out: &Path, base_url: &str) -> Arguments {
    Arguments::new("run")
        .path(prompts)
        .option("--model", "grok-4.3")
        .option("--base-url", base_url)
        .option("--rpm", RPM.to_string())
        .option("--out", out)
        .flag("--yes")
}
