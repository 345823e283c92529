//! Files that are no ledgers, are damaged, or are somebody else's.

use std::fs;
use std::ops::ControlFlow;
use std::path::Path;

use paceline_budget::{Budgets, Record, Spend};
use paceline_ledger::{Ledger, LedgerError, LedgerErrorKind, Range, Reader, RunInfo};

use crate::support::{Place, answered, intent, wait};

/// Both ways to open it fail alike, name the file and the way out, and leave it as it was.
#[track_caller]
fn refused(path: &Path, kind: LedgerErrorKind) -> LedgerError {
    let before = fs::read(path).ok();
    let write = Ledger::open(path, &RunInfo::new("test")).expect_err("refused");
    let read = Reader::open(path).expect_err("refused");
    for error in [&write, &read] {
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.to_string().contains(&path.display().to_string()), "{error}");
        assert!(error.hint().len() > 10);
    }
    assert_eq!(fs::read(path).ok(), before, "not a byte was changed");
    write
}

/// A ledger with a few hundred rows, closed.
fn filled(place: &Place) -> Vec<u8> {
    let ledger = place.open();
    for number in 0..300 {
        let call = number.to_string();
        wait(ledger.intent(&intent(&call, number))).expect("recorded");
        ledger.outcome(&answered(&call, 5)).expect("taken");
    }
    ledger.close().expect("closed");
    drop(ledger);
    fs::read(place.ledger()).expect("one file")
}

#[test]
fn what_is_no_ledger_is_left_alone() {
    let place = Place::new();
    for (name, bytes) in [
        ("a.txt", "dear diary".as_bytes()),
        ("one.txt", b"x"),
        ("start.db", b"SQLite format 3"),
        ("zeros.db", &[0; 5_000]),
        ("long.txt", "row\n".repeat(3_000).as_bytes()),
    ] {
        fs::write(place.path(name), bytes).expect("written");
        refused(&place.path(name), LedgerErrorKind::Foreign);
    }
    fs::create_dir(place.path("folder")).expect("made");
    refused(&place.path("folder"), LedgerErrorKind::Foreign);
}

#[test]
fn an_sqlite_file_of_another_program_is_left_alone() {
    let place = Place::new();
    let path = place.path("notes.db");
    let other = rusqlite::Connection::open(&path).expect("made");
    other.execute_batch("CREATE TABLE notes (text TEXT); INSERT INTO notes VALUES ('x');").unwrap();
    drop(other);
    let error = refused(&path, LedgerErrorKind::Foreign);
    assert!(error.to_string().contains("of another program"), "{error}");
}

#[test]
fn damage_is_found_before_anything_is_recorded() {
    let whole = filled(&Place::new());
    let page = 4_096;
    assert!(whole.len() > 8 * page, "several pages: {}", whole.len());
    let cut = whole[..whole.len() - page - 17].to_vec();
    let mut scribbled = whole.clone();
    scribbled[5 * page..6 * page].fill(0xA7);
    let mut headless = whole.clone();
    headless[16..100].fill(0xFF);
    for (name, bytes) in [("cut.db", cut), ("scribbled.db", scribbled)] {
        let place = Place::new();
        fs::write(place.path(name), bytes).expect("written");
        let error = refused(&place.path(name), LedgerErrorKind::Damaged);
        assert!(error.hint().contains(".recover"), "{}", error.hint());
    }
    let place = Place::new();
    fs::write(place.path("headless.db"), headless).expect("written");
    refused(&place.path("headless.db"), LedgerErrorKind::Foreign);
}

#[test]
fn any_one_byte_that_changes_ends_in_an_error_that_names_the_file_or_in_figures_that_can_be() {
    let place = Place::new();
    let whole = filled(&place);
    let sound = Reader::open(place.ledger()).expect("read").totals(&Range::default());
    let sound = sound.expect("added up");
    let path = place.path("flipped.db");
    let (mut found, mut unseen) = (0, 0);
    // A prime stride, so that it falls on every place within a page.
    for at in (0..whole.len()).step_by(397) {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x55;
        fs::write(&path, &bytes).expect("written");
        // SQLite keeps no checksums, so a figure may read as another one. It must end, without a
        // panic, and no budget may be given what no call can spend.
        let mut spends = Vec::new();
        let read = Reader::open(&path).and_then(|reader| {
            reader.for_each(&Range::default(), |attempt| {
                spends.push(Spend::from(&attempt));
                ControlFlow::Continue(())
            })?;
            reader.totals(&Range::default())
        });
        match read {
            Ok(totals) => unseen += u32::from(totals != sound),
            Err(error) => {
                found += 1;
                assert!(error.to_string().contains("flipped.db"), "{error}");
            }
        }
        assert_eq!(Budgets::new().restore(spends), 0, "byte {at}");
    }
    assert!(found > 0, "some of them break the file");
    assert!(unseen > 0, "where none is unseen any more, the documentation says too little");
}

#[test]
fn an_empty_file_becomes_a_ledger_and_a_missing_one_is_made_by_writing_alone() {
    let place = Place::new();
    fs::write(place.ledger(), "").expect("written");
    assert_eq!(Reader::open(place.ledger()).unwrap_err().kind(), LedgerErrorKind::Missing);
    drop(place.open());
    Reader::open(place.ledger()).expect("a ledger now");
    let missing = place.path("missing.db");
    let error = Reader::open(&missing).unwrap_err();
    assert_eq!(error.kind(), LedgerErrorKind::Missing);
    assert!(error.to_string().contains("there is no ledger"), "{error}");
    assert!(!missing.exists(), "reading makes nothing");
    let nowhere = place.path("no/such/folder.db");
    let error = Ledger::open(&nowhere, &RunInfo::new("test")).unwrap_err();
    assert!(error.to_string().contains("its folder does not exist"), "{error}");
}

#[cfg(unix)]
#[test]
fn only_its_owner_can_read_it() {
    use std::os::unix::fs::PermissionsExt;
    let place = Place::new();
    let ledger = place.open();
    wait(ledger.intent(&intent("a", 0))).expect("recorded");
    for name in ["ledger.db", "ledger.db-wal", "ledger.db-shm"] {
        let mode = fs::metadata(place.path(name)).expect("it is there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
}
