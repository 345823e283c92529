//! The documents of each workload, with their counts: one side fits, the other judges.
//!
//! Invariant: no document of the judging side shares an origin, or a whole text, with one that
//! was fitted on.

use std::collections::HashSet;
use std::path::Path;

use paceline_budget::Features;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use super::sources::{self, Text, Texts};
use super::truth::{TOKENIZERS, Tokenizer, Tokenizers};

/// Which side a document stands on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    /// The table was fitted on it.
    Fit,
    /// Estimates are judged by it.
    Judge,
}

/// A request without what is hidden in it.
#[derive(Clone, Debug)]
pub(super) struct Document {
    pub(super) features: Features,
    pub(super) messages: u32,
    /// The tokens of all messages together, by tokenizer.
    pub(super) counts: [u64; TOKENIZERS],
    pub(super) bytes: u64,
}

/// Documents of one kind.
#[derive(Debug)]
pub(super) struct Workload {
    pub(super) name: &'static str,
    pub(super) documents: Vec<Document>,
}

/// Everything of one side.
#[derive(Debug)]
pub(super) struct Documents {
    pub(super) workloads: Vec<Workload>,
    /// What was looked for and is not on this machine.
    pub(super) missing: Vec<String>,
}

/// Languages of which there are interface texts at best: the name of the workload, and locales.
const INTERFACES: [(&str, &[&str]); 17] = [
    ("ko", &["ko"]),
    ("ar", &["ar"]),
    ("he", &["he"]),
    ("el", &["el"]),
    ("hi", &["hi", "mr", "ne"]),
    ("bn", &["bn", "bn_IN", "as"]),
    ("te_ta_kn_ml", &["te", "ta", "kn", "ml"]),
    ("ka", &["ka"]),
    ("uk_bg_sr", &["uk", "bg", "sr"]),
    ("de_fr_es", &["de", "fr", "es"]),
    ("pl_cs_tr", &["pl", "cs", "tr"]),
    ("vi_id", &["vi", "id"]),
    ("fa_ur_ug", &["fa", "ur", "ug"]),
    ("gu_pa_or", &["gu", "pa", "or"]),
    ("my_km_lo", &["my", "km", "lo"]),
    ("am_ti", &["am", "ti"]),
    ("hy", &["hy"]),
];

/// What is fitted on: documents of a workload at most.
const MOST_FITTED: usize = 1_500;
/// What is judged by: enough for streams of 400 drawn at random.
const MOST_JUDGED: usize = 1_200;

impl Documents {
    /// Reads and counts everything of a side.
    pub(super) fn load(data: &Path, tokenizers: &Tokenizers, side: Side) -> Result<Self, String> {
        let texts = texts(data)?;
        let most = if side == Side::Fit { MOST_FITTED } else { MOST_JUDGED };
        let mut missing = Vec::new();
        let mut fitted = HashSet::new();
        let mut workloads = Vec::new();
        for (name, found) in texts {
            missing.extend(found.missing);
            let (fit, judge): (Vec<_>, Vec<_>) =
                found.texts.into_iter().partition(|text| side_of(&text.origin) == Side::Fit);
            fitted.extend(fit.iter().flat_map(|text| text.messages.iter().cloned()));
            let mut chosen = if side == Side::Fit { fit } else { judge };
            let mut seen = HashSet::new();
            chosen.retain(|text| {
                let known =
                    side == Side::Judge && text.messages.iter().any(|it| fitted.contains(it));
                !known && seen.insert(text.messages.clone())
            });
            shuffle(&mut chosen, &mut StdRng::seed_from_u64(7));
            chosen.truncate(most);
            let documents = chosen.iter().map(|text| Document::of(text, tokenizers)).collect();
            workloads.push(Workload { name, documents });
        }
        Ok(Self { workloads, missing })
    }
}

/// The texts of the side that is fitted on, each message by itself.
pub(super) fn fitted_texts(data: &Path) -> Result<Vec<(&'static str, Vec<String>)>, String> {
    let messages = |found: Texts| {
        let fitted = found.texts.into_iter().filter(|text| side_of(&text.origin) == Side::Fit);
        fitted.flat_map(|text| text.messages).collect()
    };
    Ok(texts(data)?.into_iter().map(|(name, found)| (name, messages(found))).collect())
}

/// The judging texts of a workload, one after the other.
pub(super) fn judged_text(data: &Path, name: &str) -> Result<String, String> {
    let found = texts(data)?.into_iter().find(|(workload, _)| *workload == name);
    let found = found.map(|(_, found)| found.texts).unwrap_or_default();
    let judged = found.into_iter().filter(|text| side_of(&text.origin) == Side::Judge);
    let messages: Vec<_> = judged.flat_map(|text| text.messages).take(500).collect();
    Ok(messages.join("\n"))
}

/// Every text, whichever side it stands on.
fn texts(data: &Path) -> Result<Vec<(&'static str, Texts)>, String> {
    let prompts = data.join("prompts");
    let mut all = vec![
        (
            "chat",
            sources::json_lines(&prompts.join("mt_bench.jsonl"), "judge:mt_bench", &["turns"])?,
        ),
        ("prose", sources::readme_prose(&mut lengths_of("prose"))),
        ("words", sources::json_lines(&prompts.join("gsm8k_test.jsonl"), "gsm8k", &["question"])?),
        (
            "code",
            sources::json_lines(
                &prompts.join("humaneval.jsonl"),
                "judge:humaneval",
                &["prompt", "canonical_solution"],
            )?
            .and(sources::code(&mut lengths_of("code"))),
        ),
    ];
    for (name, locale) in [("zh", "zh_CN"), ("ja", "ja"), ("ru", "ru"), ("th", "th")] {
        let file = prompts.join(format!("mgsm_{name}.tsv"));
        let origin = format!("judge:mgsm_{name}");
        let texts = sources::first_column(&file, &origin)?
            .and(sources::interface_texts(locale, &mut lengths_of(locale)));
        all.push((name, texts));
    }
    for (name, locales) in INTERFACES {
        let mut texts = Texts::default();
        for locale in locales {
            texts = texts.and(sources::interface_texts(locale, &mut lengths_of(locale)));
        }
        all.push((name, texts));
    }
    Ok(all)
}

/// How long the texts of a source are, drawn from chance of its own: what else is on the machine
/// changes none of them.
fn lengths_of(source: &str) -> impl FnMut() -> usize {
    let mut random = StdRng::seed_from_u64(hash(source));
    // Log-normal about 900 bytes: a quarter is below 500, one in twenty above 3,000.
    move || {
        let normal: f64 = (0..12).map(|_| random.random::<f64>()).sum::<f64>() - 6.0;
        (6.8 + 0.75 * normal).exp() as usize
    }
}

fn hash(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// Half of what is the machine's own, by its origin; the prompts are for judging, but for half of
/// the word problems in English.
fn side_of(origin: &str) -> Side {
    if origin.starts_with("judge:") || hash(origin) >> 63 == 1 { Side::Judge } else { Side::Fit }
}

/// In an order drawn from chance.
pub(super) fn shuffle<T>(items: &mut [T], random: &mut StdRng) {
    for last in (1..items.len()).rev() {
        items.swap(last, random.random_range(0..=last));
    }
}

impl Document {
    fn of(text: &Text, tokenizers: &Tokenizers) -> Self {
        let mut features = Features::default();
        let mut counts = [0; TOKENIZERS];
        let mut bytes = 0;
        for message in &text.messages {
            features.add_message();
            features.merge(&Features::of_text(message));
            for tokenizer in Tokenizer::ALL {
                counts[tokenizer as usize] += tokenizers.count(tokenizer, message);
            }
            bytes += message.len() as u64;
        }
        Self { features, messages: text.messages.len() as u32, counts, bytes }
    }
}
