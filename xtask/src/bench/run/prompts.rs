//! Runs over public prompts with `--simulate`: pace, use of the quota, error of the estimates.
//!
//! The server is in the same process here, so 429s are what the client's report counts.

use std::path::Path;

use super::out::Out;
use super::program::{Arguments, complete};
use super::report::Report;
use crate::bench::Bench;
use crate::bench::row::{Compare, Row, as_f64};
use crate::shell::{Failure, Outcome};

/// The rows of gsm8k_test.jsonl.
pub(super) const GSM8K_ROWS: u64 = 1_319;

/// The file itself.
pub(super) const GSM8K: &str = "gsm8k_test.jsonl";

/// The languages of the word problems, 250 rows each.
const LANGUAGES: [&str; 5] = ["en", "zh", "ja", "ru", "th"];

/// Whole seconds from the first of 1,319 sends to the last at 37 a second: 1,318 / 37, rounded
/// down because a server may count 37 at once.
const LEAST_SPAN_S: f64 = 35.0;

/// Tokens a minute in `tpm`.
const TPM: u64 = 60_000;

/// Where one run over a file of prompts left its results.
struct Ran {
    out: Out,
    report: Report,
}

fn simulate(bench: &Bench, folder: &Path, prompts: &str, options: &[(&str, &str)]) -> Outcome<Ran> {
    let out = folder.join(format!("{prompts}.sim.jsonl"));
    let report = folder.join(format!("{prompts}.report.json"));
    let mut arguments = Arguments::new("run")
        .path(&bench.prompts(prompts)?)
        .flag("--simulate")
        .option("--report", &report)
        .option("--out", &out);
    for (name, value) in options {
        arguments = arguments.option(name, *value);
    }
    complete(bench, &arguments, &folder.join(format!("{prompts}.log")))?;
    Ok(Ran { out: Out::read(&out)?, report: Report::read(&report)? })
}

impl Ran {
    /// What every run has to show.
    fn rows(&self, item: &str, rows: u64) -> Outcome<Vec<Row>> {
        let refused =
            Row::count(format!("{item}.status_429"), self.report.status_429()?, "answers")
                .target(Compare::Exactly, 0.0);
        Ok(self.out.rows(item, rows).into_iter().chain([refused]).collect())
    }
}

pub(super) fn gsm8k(bench: &Bench) -> Outcome<Vec<Row>> {
    let folder = bench.fresh_folder("gsm8k")?;
    let ran = simulate(bench, &folder, GSM8K, &[("--model", "grok-4.3")])?;
    let span_ms = ran.out.send_span_ms();
    let span_ms = span_ms.ok_or_else(|| Failure::check("no row of OUT says when it was sent"))?;
    let span_s = as_f64(span_ms.unsigned_abs()) / 1_000.0;
    let mut rows = ran.rows("gsm8k", GSM8K_ROWS)?;
    rows.push(Row::new("gsm8k.send_span", span_s, "s").target(Compare::AtLeast, LEAST_SPAN_S));
    rows.push(
        Row::new("gsm8k.send_span_share", span_s / LEAST_SPAN_S, "of least")
            .target(Compare::AtMost, 1.15),
    );
    rows.push(optional("gsm8k.delay_bound".into(), ran.report.delay_bound_s(), "s"));
    Ok(rows)
}

pub(super) fn tokens_per_minute(bench: &Bench) -> Outcome<Vec<Row>> {
    let folder = bench.fresh_folder("tpm")?;
    let ran = simulate(bench, &folder, GSM8K, &[("--tpm", &TPM.to_string())])?;
    let mut rows = ran.rows("tpm", GSM8K_ROWS)?;
    let reported = Row::new("tpm.used_report", ran.report.quota_used()?, "of quota");
    let counted = optional("tpm.used_out".into(), ran.out.share_used(TPM), "of quota");
    rows.extend([reported, counted].map(|row| row.target(Compare::AtLeast, 0.90)));
    Ok(rows)
}

pub(super) fn languages(bench: &Bench) -> Outcome<Vec<Row>> {
    let folder = bench.fresh_folder("mgsm")?;
    let mut rows = Vec::new();
    for language in LANGUAGES {
        let prompts = format!("mgsm_{language}.tsv");
        let ran = simulate(bench, &folder, &prompts, &[("--model", "grok-4.3")])?;
        let base = ran.rows(&format!("mgsm.{language}"), 250)?;
        rows.extend(base);
        let name = format!("mgsm.{language}.input_error");
        rows.push(optional(name, ran.report.input_error(), "of reported"));
    }
    Ok(rows)
}

fn optional(name: String, value: Option<f64>, unit: &'static str) -> Row {
    value.map_or_else(
        || Row::not_measured(name.clone(), unit),
        |value| Row::new(name.clone(), value, unit),
    )
}
