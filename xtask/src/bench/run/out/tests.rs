//! OUT files made up by hand, and what has to be counted in them.

use super::*;

fn parse(text: &str) -> Outcome<Out> {
    Out::parse(text.as_bytes())
}

fn tally(text: &str, rows: u64) -> Tally {
    parse(text).unwrap().tally(rows)
}

/// A row that was finished at a second of the first minutes of 1970.
fn answered(line: u64, sent: &str, finished: &str, tokens: u64) -> String {
    format!(
        "{{\"line\":{line},\"sent_at\":\"1970-01-01T00:{sent}.000Z\",\
         \"finished_at\":\"1970-01-01T00:{finished}.000Z\",\"usage\":{{\"total_tokens\":{tokens}}}}}\n"
    )
}

#[test]
fn every_row_once_is_counted() {
    let out = "{\"line\":2}\n{\"line\":1,\"error\":null}\n{\"line\":3}\n";
    assert_eq!(tally(out, 3), Tally { once: 3, wrong: 0 });
}

#[test]
fn a_row_that_is_missing_repeated_failed_or_of_no_input_is_not_once() {
    assert_eq!(tally("{\"line\":1}\n", 2), Tally { once: 1, wrong: 0 });
    assert_eq!(tally("{\"line\":1}\n{\"line\":1}\n", 1), Tally { once: 0, wrong: 2 });
    assert_eq!(
        tally("{\"line\":1,\"error\":{\"kind\":\"content\"}}\n", 1),
        Tally { once: 0, wrong: 1 }
    );
    assert_eq!(tally("{\"line\":2}\n{\"line\":0}\n", 1), Tally { once: 0, wrong: 2 });
}

#[test]
fn a_torn_line_or_one_without_its_number_is_an_error_that_names_it() {
    let why = |text: &str| parse(text).unwrap_err().to_string();
    assert!(why("{\"line\":1}\n{\"line\":2,\"outp").starts_with("line 2: "));
    assert_eq!(why("{\"id\":\"a\"}\n"), "line 1: it has no number `line`");
    assert_eq!(
        why("{\"line\":1,\"sent_at\":\"noon\"}\n"),
        "line 1: `sent_at` is not a moment in UTC: noon"
    );
}

#[test]
fn the_send_span_is_from_the_first_to_the_last_in_any_order() {
    let out = answered(2, "00:41", "00:50", 1) + &answered(1, "00:02", "00:55", 1);
    assert_eq!(parse(&out).unwrap().send_span_ms(), Some(39_000));
    assert_eq!(parse("{\"line\":1}\n").unwrap().send_span_ms(), None);
}

#[test]
fn the_share_used_counts_whole_minutes_after_the_first_until_the_last_send() {
    // Sends from 0:00 to 3:30: the whole minutes are the second and the third.
    let out = [
        answered(1, "00:00", "00:59", 9_999),
        answered(2, "00:50", "01:00", 300),
        answered(3, "01:50", "02:59", 600),
        answered(4, "02:50", "03:00", 9_999),
        answered(5, "03:30", "03:31", 9_999),
    ];
    let out = parse(&out.concat()).unwrap();
    assert_eq!(out.share_used(1_000), Some(0.45));
}

#[test]
fn a_run_too_short_for_a_whole_minute_has_no_share() {
    let out = answered(1, "00:00", "00:01", 5) + &answered(2, "01:59", "02:00", 5);
    assert_eq!(parse(&out).unwrap().share_used(1_000), None);
}

#[test]
fn moments_are_read_to_the_millisecond() {
    for (text, expect) in [
        ("1970-01-01T00:00:00.000Z", Some(0)),
        ("1970-01-02T00:00:00.001Z", Some(86_400_001)),
        ("1969-12-31T23:59:59.999Z", Some(-1)),
        ("2000-02-29T00:00:00.000Z", Some(951_782_400_000)),
        ("2000-03-01T00:00:00.500Z", Some(951_868_800_500)),
        ("2026-11-24T12:44:56.789Z", Some(1_795_524_296_789)),
        ("2026-11-24T12:44:56Z", None),
        ("2026-11-24T12:44:56.789+01:00", None),
        ("2026-13-24T12:44:56.789Z", None),
        ("2026-11-24T12:44:56.78Z", None),
        ("2026-11-24T12:-4:56.789Z", None),
    ] {
        assert_eq!(unix_ms(text), expect, "{text}");
    }
}
