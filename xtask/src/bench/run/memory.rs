//! The most resident memory of a client with many rows against one with few.
//!
//! The server is a process of its own, so that only the client is measured; both runs have the
//! same rate, so that about as many calls are in flight. Linux only.

use super::generated;
use super::out::Out;
use super::program::{Arguments, complete};
use super::server::Server;
use crate::bench::Bench;
use crate::bench::row::{Compare, Row, as_f64};
use crate::shell::{Failure, Outcome};

/// Few rows, and many.
const ROWS: [u64; 2] = [1_000, 100_000];

/// The limits on both sides: 500 requests a second, and tokens that never bind.
const LIMITS: [(&str, u64); 3] = [("--rps", 500), ("--rpm", 30_000), ("--tpm", 1_000_000_000)];

/// One client's figures.
struct Measured {
    peak_kib: u64,
    rows_per_s: f64,
}

pub(super) fn measure(bench: &Bench) -> Outcome<Vec<Row>> {
    if !cfg!(target_os = "linux") {
        return Err(Failure::usage("the item memory reads /proc, which only Linux has"));
    }
    let folder = bench.fresh_folder("memory")?;
    let mut rows = Vec::new();
    let mut measured = Vec::new();
    for count in ROWS {
        let item = format!("memory.{count}");
        let input = folder.join(format!("{count}.jsonl"));
        let out = folder.join(format!("{count}.out.jsonl"));
        generated::write(&input, count)?;
        // A new server for each, so that neither begins in the other's window.
        let server = Server::start(bench, &LIMITS, &folder.join(format!("{count}.server.log")))?;
        let mut arguments = Arguments::new("run")
            .path(&input)
            .option("--model", "grok-4.3")
            .option("--base-url", server.base_url())
            .option("--max-output-tokens", "16")
            .option("--out", &out)
            .flag("--yes");
        for (name, limit) in LIMITS {
            arguments = arguments.option(name, limit.to_string());
        }
        let finished = complete(bench, &arguments, &folder.join(format!("{count}.log")))?;
        rows.extend(Out::read(&out)?.rows(&item, count));
        let refused =
            Row::count(format!("{item}.status_429"), server.stats()?.status_429, "answers");
        rows.push(refused.target(Compare::Exactly, 0.0));
        let peak = finished.peak_kib;
        measured.push(Measured {
            peak_kib: peak.ok_or_else(|| Failure::check("/proc did not tell the peak memory"))?,
            rows_per_s: as_f64(count) / finished.wall.as_secs_f64(),
        });
    }
    if let [few, many] = &measured[..] {
        rows.extend(compared(few, many));
    }
    Ok(rows)
}

fn compared(few: &Measured, many: &Measured) -> [Row; 4] {
    let [small, large] = ROWS;
    let extra_kib = many.peak_kib.saturating_sub(few.peak_kib);
    [
        Row::new(format!("memory.peak_{small}"), as_f64(few.peak_kib) / 1024.0, "MiB"),
        Row::new(format!("memory.peak_{large}"), as_f64(many.peak_kib) / 1024.0, "MiB")
            .peer(as_f64(few.peak_kib) / 1024.0),
        Row::new("memory.per_row", as_f64(extra_kib) * 1024.0 / as_f64(large - small), "bytes"),
        Row::new("memory.rows_per_s", many.rows_per_s, "rows/s"),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_difference_is_told_a_row() {
        let few = Measured { peak_kib: 20_480, rows_per_s: 300.0 };
        let many = Measured { peak_kib: 30_380, rows_per_s: 480.0 };
        // 9,900 KiB more for 99,000 rows more: 102.4 bytes each.
        assert_eq!(
            compared(&few, &many),
            [
                Row::new("memory.peak_1000", 20.0, "MiB"),
                Row::new("memory.peak_100000", 29.667_968_75, "MiB").peer(20.0),
                Row::new("memory.per_row", 102.4, "bytes"),
                Row::new("memory.rows_per_s", 480.0, "rows/s"),
            ]
        );
    }
}
