//! Bitmaps of what is common in writing, from how often it occurs.
//!
//! Invariant: of equally frequent ones the lower code point comes first.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::path::Path;

use paceline_budget::fitting::{
    HAN_FIRST, HANGUL_FIRST, PAIR_BITS, SURPRISE_MOST, pair_place, two_before,
};

use super::super::documents::fitted_texts;

/// Han characters by grade: so many are the commonest, those and the next ones frequent, and so on.
const HAN: [usize; 3] = [200, 400, 1_000];
/// Hangul syllables that are common.
const HANGUL: usize = 400;
/// Pairs of ASCII letters are rare that together make this share of their occurrences.
const RARE_SHARE: f64 = 0.05;
/// Pairs kept of one kind of texts, the most frequent.
const MOST_PAIRS: usize = 3_000;
/// What the dictionary of Chinese words counts for, beside the interface texts.
const DICTIONARY: f64 = 1.0;

/// Counts of one kind of texts.
#[derive(Default)]
struct Counts {
    characters: HashMap<u32, f64>,
    /// By what was before, and itself.
    pairs: HashMap<(u32, u32), f64>,
    after: HashMap<u32, f64>,
    letters_before: u32,
}

impl Counts {
    fn add(&mut self, text: &str, times: f64) {
        let (mut before_last, mut last) = (0, 0);
        for now in text.chars().map(u32::from) {
            if now > 127 {
                *self.characters.entry(now).or_default() += times;
                let before = match self.letters_before {
                    2 => two_before(before_last, last),
                    _ if last < 128 => 32,
                    _ => last,
                };
                *self.pairs.entry((before, now)).or_default() += times;
                *self.after.entry(before).or_default() += times;
            }
            (before_last, last) = (last, now);
        }
    }

    /// The bits that say a character after another.
    fn bits(&self, pair: (u32, u32)) -> f64 {
        (self.after[&pair.0] / self.pairs[&pair]).log2()
    }
}

/// The kinds of texts whose characters are told by one before, not by two.
const BY_ONE: [&str; 4] = ["zh", "ja", "th", "my_km_lo"];

pub(super) fn fit(
    data: &Path,
    dictionary: Option<&Path>,
    date: &str,
    show: &mut dyn FnMut(&str),
) -> Result<String, String> {
    let mut han: HashMap<u32, f64> = HashMap::new();
    let mut hangul: HashMap<u32, f64> = HashMap::new();
    let mut letters: HashMap<(u32, u32), f64> = HashMap::new();
    let mut table: HashMap<usize, f64> = HashMap::new();
    for (name, texts) in fitted_texts(data)? {
        let letters_before = if BY_ONE.contains(&name) { 1 } else { 2 };
        let mut counts = Counts { letters_before, ..Counts::default() };
        for text in &texts {
            counts.add(text, 1.0);
            for pair in
                text.as_bytes().windows(2).filter(|it| it.iter().all(u8::is_ascii_alphabetic))
            {
                *letters.entry((u32::from(pair[0] & 31), u32::from(pair[1] & 31))).or_default() +=
                    1.0;
            }
        }
        if name == "zh" {
            add_dictionary(&mut counts, dictionary, show)?;
        }
        let all: f64 = counts.characters.values().sum();
        for (code, count) in &counts.characters {
            match name {
                "zh" => *han.entry(*code).or_default() += count / all,
                "ja" => *han.entry(*code).or_default() += count / all,
                "ko" => *hangul.entry(*code).or_default() += count,
                _ => {}
            }
        }
        let kept = most_frequent(&counts.pairs, 1.0, MOST_PAIRS);
        show(&format!("{name}: {} texts, {} pairs", texts.len(), kept.len()));
        for pair in kept {
            let bits = counts.bits(pair);
            let least = table.entry(pair_place(pair.0, pair.1)).or_insert(f64::from(SURPRISE_MOST));
            *least = least.min(bits);
        }
    }
    add_ranks(&mut han);
    show(&format!("{} of {} places of pairs are taken", table.len(), 1 << PAIR_BITS));
    Ok(source(date, &han, &hangul, &letters, &table))
}

/// The order in which cl100k made tokens of Han characters says how common they are on the web.
/// That tokenizer never judges.
fn add_ranks(han: &mut HashMap<u32, f64>) {
    let cl100k = tiktoken_rs::cl100k_base_singleton();
    let token_of = |code: u32| {
        let text = char::from_u32(code)?.to_string();
        let tokens = cl100k.encode_ordinary(&text);
        (tokens.len() == 1).then(|| (tokens[0], code))
    };
    let mut ranked: Vec<_> = (HAN_FIRST..0xA000).filter_map(token_of).collect();
    ranked.sort_unstable();
    let harmonic: f64 = (0..ranked.len()).map(zipf).sum();
    for (order, (_, code)) in ranked.iter().enumerate() {
        *han.entry(*code).or_default() += RANKS * zipf(order) / harmonic;
    }
}

/// How often the character of a rank comes, up to a factor.
fn zipf(rank: usize) -> f64 {
    1.0 / (rank as f64 + 30.0)
}

/// What the ranks of cl100k count for, beside the texts of one language.
const RANKS: f64 = 6.0;

/// Words of a dictionary of jieba's form: a word, how often it was seen.
fn add_dictionary(
    counts: &mut Counts,
    dictionary: Option<&Path>,
    show: &mut dyn FnMut(&str),
) -> Result<(), String> {
    let Some(path) = dictionary else {
        show("no data: a dictionary of Chinese words; interface texts alone say what is common");
        return Ok(());
    };
    let text = std::fs::read_to_string(path)
        .map_err(|why| format!("can't read {}: {why}", path.display()))?;
    let words = text.lines().filter_map(|line| {
        let mut parts = line.split(' ');
        Some((parts.next()?, parts.next()?.parse::<f64>().ok()?))
    });
    let words: Vec<_> = words.collect();
    let all: f64 = words.iter().map(|(word, times)| times * word.chars().count() as f64).sum();
    let own: f64 = counts.characters.values().sum();
    words.iter().for_each(|(word, times)| counts.add(word, times * DICTIONARY * own / all));
    Ok(())
}

fn source(
    date: &str,
    han: &HashMap<u32, f64>,
    hangul: &HashMap<u32, f64>,
    letters: &HashMap<(u32, u32), f64>,
    table: &HashMap<usize, f64>,
) -> String {
    let mut rare = vec![u64::MAX; 16];
    for (before, now) in most_frequent(letters, 1.0 - RARE_SHARE, usize::MAX) {
        let place = (before << 5 | now) as usize;
        rare[place / 64] &= !(1 << (place % 64));
    }
    let mut surprise = vec![u64::MAX; 1 << (PAIR_BITS - 4)];
    for (place, bits) in table {
        let nibble = (bits.round() as u64).min(u64::from(SURPRISE_MOST));
        surprise[place / 16] &= !(15 << (4 * (place % 16)));
        surprise[place / 16] |= nibble << (4 * (place % 16));
    }
    let mut source = format!(
        "//! What is common in writing. Generated by `cargo xtask fit`; not edited by hand.\n\
         //!\n\
         //! Counted on {date}, over interface texts of GNU gettext, README files and code of packages\n\
         //! and word problems of GSM8K, all of the side that never judges; for Han characters also over\n\
         //! the word list of jieba 0.42.1 (MIT).\n"
    );
    let about = "Grades of Han characters from U+4E00, two bits each: 3 for the commonest.";
    write_table(&mut source, "HAN", about, &grades(han));
    let about = "The common Hangul syllables, from U+AC00.";
    write_table(&mut source, "HANGUL", about, &bitmap(hangul, HANGUL_FIRST, 175, HANGUL));
    let about = "The rare pairs of ASCII letters, 32 to a first letter.";
    write_table(&mut source, "RARE_LETTER_PAIRS", about, &rare);
    let about = "Bits of surprise at pairs of characters beyond ASCII, four each.";
    write_table(&mut source, "SURPRISE", about, &surprise);
    source
}

/// The most frequent ones that together make a share of all occurrences, or the first so many.
fn most_frequent(counts: &HashMap<(u32, u32), f64>, share: f64, most: usize) -> Vec<(u32, u32)> {
    let all: f64 = counts.values().sum();
    let mut counts: Vec<_> = counts.iter().collect();
    counts.sort_by(|a, b| b.1.total_cmp(a.1).then(a.0.cmp(b.0)));
    let mut reached = 0.0;
    let enough = all * share;
    let within = |(_, count): &(&(u32, u32), &f64)| {
        let within = reached < enough;
        reached += **count;
        within
    };
    counts.into_iter().take_while(within).take(most).map(|(pair, _)| *pair).collect()
}

fn bitmap(characters: &HashMap<u32, f64>, first: u32, words: usize, most: usize) -> Vec<u64> {
    let inside = |code: u32| (first..first + 64 * words as u32).contains(&code);
    let mut counts: Vec<_> = characters.iter().filter(|(code, _)| inside(**code)).collect();
    counts.sort_by(|a, b| b.1.total_cmp(a.1).then(a.0.cmp(b.0)));
    let mut bits = vec![0; words];
    for (code, _) in counts.into_iter().take(most) {
        set(&mut bits, (code - first) as usize);
    }
    bits
}

fn grades(han: &HashMap<u32, f64>) -> Vec<u64> {
    let mut grades = vec![0; 656];
    for bits in HAN.map(|most| bitmap(han, HAN_FIRST, 328, most)) {
        for place in (0..64 * bits.len()).filter(|place| bits[place / 64] >> (place % 64) & 1 == 1)
        {
            // A grade more for every list that it is in.
            grades[place / 32] += 1 << (2 * (place % 32));
        }
    }
    grades
}

fn set(bits: &mut [u64], place: usize) {
    bits[place / 64] |= 1 << (place % 64);
}

fn write_table(source: &mut String, name: &str, about: &str, words: &[u64]) {
    let _ = write!(
        source,
        "\n/// {about}\n#[rustfmt::skip]\npub(super) static {name}: [u64; {}] = [",
        words.len()
    );
    for (number, word) in words.iter().enumerate() {
        source.push_str(if number % 12 == 0 { "\n    " } else { " " });
        let _ = write!(source, "{word:#x},");
    }
    source.push_str("\n];\n");
}
