//! A tokenizer file of the user's: a SentencePiece model of a handful of pieces, written here.

use std::path::PathBuf;

use paceline_sim::http::OutputLength;

use super::{body, chat_with, instant, start};

/// A length-delimited field of a protocol buffer.
fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    let length = u8::try_from(bytes.len()).expect("short");
    [&[number << 3 | 2, length], bytes].concat()
}

/// A piece: its text, its score and its kind (1 normal, 2 unknown).
fn piece(text: &str, score: f32, kind: u8) -> Vec<u8> {
    let score = [&[2 << 3 | 5], score.to_le_bytes().as_slice()].concat();
    field(1, &[field(1, text.as_bytes()), score, vec![3 << 3, kind]].concat())
}

/// A unigram model that knows the words `ab` and `b`, and the letter `a` where nothing better fits.
fn model() -> Vec<u8> {
    let unigram = field(2, &[3 << 3, 1]);
    [
        piece("<unk>", 0.0, 2),
        piece("\u{2581}ab", -1.0, 1),
        piece("\u{2581}b", -1.0, 1),
        piece("\u{2581}", -9.0, 1),
        piece("a", -9.0, 1),
        piece("b", -9.0, 1),
        unigram,
    ]
    .concat()
}

/// A file that goes with its owner.
struct File(PathBuf);

impl Drop for File {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_sentencepiece_file_counts_in_place_of_o200k() {
    let name = format!("paceline-sim-{}.model", std::process::id());
    let file = File(std::env::temp_dir().join(name));
    std::fs::write(&file.0, model()).expect("a writable folder");
    let grok = start(instant().tokenizer(&file.0).output(OutputLength::fixed(100)));
    let mut counted = Vec::new();
    for text in ["ab", "ab b", "ab b ab b", "aa"] {
        let answer = body(&chat_with(&grok, "grok-2", text).await);
        counted.push(answer["usage"]["prompt_tokens"].as_u64().expect("a number") - 6);
    }
    // The last is a blank and two letters.
    assert_eq!(counted, [1, 2, 4, 3]);
}
