//! Every input that the fuzzer begins with, and every one that it ever found something by, keeps the laws.

use std::fs;
use std::path::Path;

use proptest::prelude::*;

use super::laws;

type Law = fn(&[u8]);

/// Every law, by the folder of `fuzz/corpus` that has inputs for it.
const ALL: [(&str, Law); 5] = [
    ("headers", laws::headers),
    ("retry_after", laws::retry_after),
    ("error_body", laws::error_body),
    ("usage", laws::usage),
    ("event_stream", laws::event_stream),
];

#[test]
fn every_input_of_the_corpus_keeps_its_law() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
    for (name, law) in ALL {
        let mut inputs = 0;
        for entry in fs::read_dir(corpus.join(name)).expect("a folder for each law") {
            law(&fs::read(entry.expect("readable").path()).expect("readable"));
            inputs += 1;
        }
        assert!(inputs > 0, "no input for {name}");
    }
}

#[test]
fn every_law_has_its_target() {
    let targets = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/fuzz_targets");
    for (name, _) in ALL {
        let target = fs::read_to_string(targets.join(name).with_extension("rs")).expect("a target");
        assert!(target.contains(&format!("laws::{name}(input)")), "{name} runs another law");
    }
}

proptest! {
    /// Bytes that no corpus thought of.
    #[test]
    fn any_bytes_keep_every_law(input in prop::collection::vec(any::<u8>(), 0..300)) {
        for (_, law) in ALL {
            law(&input);
        }
    }
}
