//! How fast the pass over a text is, beside a tokenizer on the same text, and what an update takes.
//!
//! Wall-clock time, the best of several rounds; only a quiet machine gives figures worth quoting.

use std::hint::black_box;
use std::time::Instant;

use paceline_budget::{Features, InputModel};

use super::Lab;
use super::documents::judged_text;
use crate::row::Row;

/// Bytes of a text that is read at once.
const BYTES: usize = 1 << 20;
/// And of what the tokenizer reads, as it is slower.
const BYTES_OF_PEER: usize = 1 << 18;
const ROUNDS: u32 = 15;
/// What is asked, and what is aimed at on ASCII, in MB/s.
const TARGET: f64 = 300.0;

pub(super) fn measure(lab: &mut Lab<'_>) -> Result<Vec<Row>, String> {
    let mut rows = Vec::new();
    for name in ["prose", "words", "code", "zh", "ja", "ru", "th", "ko"] {
        let text = repeated(&judged_text(&lab.options.data, name)?, BYTES);
        if text.is_empty() {
            (lab.show)(&format!("{name}: no text, left out"));
            continue;
        }
        let peer_text = &text[..text.floor_char_boundary(BYTES_OF_PEER)];
        let ours = best(text.len(), || {
            black_box(Features::of_text(black_box(&text)));
        });
        let o200k = tiktoken_rs::o200k_base_singleton();
        let peer = best(peer_text.len(), || {
            black_box(o200k.count_ordinary(black_box(peer_text)));
        });
        (lab.show)(&format!("{name:6} {ours:7.1} MB/s, tiktoken-rs o200k {peer:5.1} MB/s"));
        let beside = format!("tiktoken-rs o200k {peer:.1}");
        let mut row = Row::new(format!("speed.pass.{name}"), ours, "MB/s").beside(beside);
        row.at_least(TARGET);
        rows.push(row);
    }
    let features = Features::of_text(&judged_text(&lab.options.data, "words")?[..2_000]);
    let mut model = InputModel::new(100.0, 80.0);
    let per_second = best(1_000, || {
        (0..1_000).for_each(|_| model.learn(black_box(&features), 500));
    });
    // `best` gives millions a second.
    rows.push(Row::new("speed.update", 1.0 / per_second, "us"));
    Ok(rows)
}

/// A text again and again, until it has so many bytes.
fn repeated(text: &str, bytes: usize) -> String {
    let mut long = String::with_capacity(bytes + text.len());
    while !text.is_empty() && long.len() < bytes {
        long.push_str(text);
    }
    let end = long.floor_char_boundary(bytes);
    long.truncate(end);
    long
}

/// Millions of things a second, in the best round.
fn best(things: usize, mut work: impl FnMut()) -> f64 {
    let mut least = f64::INFINITY;
    for _ in 0..ROUNDS {
        let start = Instant::now();
        work();
        least = least.min(start.elapsed().as_secs_f64());
    }
    things as f64 / least / 1e6
}
