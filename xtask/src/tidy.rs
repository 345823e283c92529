//! `cargo xtask tidy`: what no compiler checks, over the text of every file that belongs here.
//!
//! It parses nothing and mends nothing. Invariant: each rule is a pure function of a path and a
//! text, with a test that it catches what it forbids.

use std::fs;
use std::path::Path;

use crate::shell::{Failure, Outcome, Workspace, about, say};

/// The most lines of a source file, its tests not counted.
const MOST_LINES: usize = 600;

/// The largest file that is looked into; a larger one is no source.
const MOST_BYTES: u64 = 1024 * 1024;

/// Folders that are not the project's: build output and history.
const OTHER_FOLDERS: [&str; 2] = ["target", ".git"];

/// What the program writes beside its inputs; the same as in `.gitignore`.
const OUTPUTS: [&str; 3] = [".out.jsonl", ".sim.jsonl", ".journal"];

/// Beginnings of absolute paths that exist on one machine only. Taken apart, so that this file
/// passes its own check.
const MACHINE_PATHS: [&str; 4] =
    [concat!("/", "home/"), concat!("/", "work/"), concat!("/", "root/"), concat!("/", "Users/")];

/// What is left behind by accident.
const LEFTOVERS: [(&str, &str); 4] = [
    (concat!("todo", "!("), "unfinished code"),
    (concat!("unimplemented", "!("), "unfinished code"),
    (concat!("#[", "ignore]"), "a test that does not run"),
    (concat!("#[", "ignore ="), "a test that does not run"),
];

/// Checks every file of the workspace.
pub(crate) fn run(workspace: &Workspace) -> Outcome {
    let mut files = 0;
    let mut problems = Vec::new();
    each_file(workspace.root(), workspace.root(), &mut |path, text| {
        files += 1;
        problems.extend(of_file(path, text));
    })?;
    if problems.is_empty() {
        say(format!("tidy: {files} files: ok"));
        return Ok(());
    }
    let count = problems.len();
    Err(Failure::check(format!("{count} untidy places:\n{}", problems.join("\n"))))
}

/// Shows every text file below `folder` to `seen`, by its path from `root` with forward slashes.
fn each_file(root: &Path, folder: &Path, seen: &mut impl FnMut(&str, &str)) -> Outcome {
    let entries = fs::read_dir(folder).map_err(|why| about("read", folder, why))?;
    for entry in entries {
        let entry = entry.map_err(|why| about("read", folder, why))?;
        let path = entry.path();
        let kind = entry.file_type().map_err(|why| about("look at", &path, why))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if kind.is_dir() {
            if !OTHER_FOLDERS.contains(&name.as_str()) {
                each_file(root, &path, seen)?;
            }
            continue;
        }
        let size = entry.metadata().map_err(|why| about("look at", &path, why))?.len();
        if !kind.is_file() || size > MOST_BYTES || OUTPUTS.iter().any(|end| name.ends_with(end)) {
            continue;
        }
        let bytes = fs::read(&path).map_err(|why| about("read", &path, why))?;
        let relative =
            path.strip_prefix(root).unwrap_or(&path).to_string_lossy().replace('\\', "/");
        if let Ok(text) = String::from_utf8(bytes) {
            seen(&relative, &text);
        }
    }
    Ok(())
}

/// Everything untidy about one file, a line each.
fn of_file(path: &str, text: &str) -> Vec<String> {
    let mut problems = machine_paths(path, text);
    if path.ends_with(".rs") {
        problems.extend(layout(path, text));
        problems.extend(leftovers(path, text));
    }
    problems
}

fn machine_paths(path: &str, text: &str) -> Vec<String> {
    let mut problems = Vec::new();
    for (number, line) in text.lines().enumerate() {
        for start in MACHINE_PATHS {
            // `some/work/` and an address with such a part are not paths of a machine.
            let is_absolute = |(at, _): &(usize, &str)| {
                let before = line[..*at].chars().next_back();
                !before.is_some_and(|c| c.is_alphanumeric() || "_.-/~}".contains(c))
            };
            if line.match_indices(start).any(|found| is_absolute(&found)) {
                problems.push(format!("{path}:{}: a path of one machine: {start}", number + 1));
            }
        }
    }
    problems
}

fn layout(path: &str, text: &str) -> Vec<String> {
    let mut problems = Vec::new();
    if path == "mod.rs" || path.ends_with("/mod.rs") {
        problems.push(format!("{path}: name it after its module"));
    }
    if !text.starts_with("//!") {
        problems.push(format!("{path}:1: a file opens with what it is: //!"));
    }
    let lines = lines_before_tests(text);
    if lines > MOST_LINES && !is_test(path) {
        problems.push(format!("{path}: {lines} lines, at most {MOST_LINES}: split it"));
    }
    problems
}

fn is_test(path: &str) -> bool {
    path.starts_with("tests/") || path.contains("/tests/") || path.ends_with("/tests.rs")
}

/// How many lines come before a test module at the end of a file.
fn lines_before_tests(text: &str) -> usize {
    let lines: Vec<&str> = text.lines().collect();
    let is_tests = |pair: &[&str]| pair[0] == "#[cfg(test)]" && pair[1].starts_with("mod tests {");
    lines.windows(2).position(is_tests).unwrap_or(lines.len())
}

fn leftovers(path: &str, text: &str) -> Vec<String> {
    let mut problems = Vec::new();
    for (number, line) in text.lines().enumerate() {
        for (left, what) in LEFTOVERS {
            if line.contains(left) {
                problems.push(format!("{path}:{}: {what}: {left}", number + 1));
            }
        }
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::*;

    const FINE: &str = "//! A file.\n\nfn main() {}\n";

    #[track_caller]
    fn check(path: &str, text: &str, expect: &[&str]) {
        assert_eq!(of_file(path, text), expect);
    }

    #[test]
    fn a_tidy_file_has_no_problem() {
        check("src/noun.rs", FINE, &[]);
        check("README.md", "# Name\n", &[]);
    }

    #[test]
    fn a_file_that_does_not_say_what_it_is_is_caught() {
        check(
            "src/noun.rs",
            "fn main() {}\n",
            &["src/noun.rs:1: a file opens with what it is: //!"],
        );
        check("src/noun.rs", "", &["src/noun.rs:1: a file opens with what it is: //!"]);
    }

    #[test]
    fn a_mod_rs_is_caught() {
        check("src/noun/mod.rs", FINE, &["src/noun/mod.rs: name it after its module"]);
        check("src/quasimod.rs", FINE, &[]);
    }

    #[test]
    fn the_601st_line_is_caught_and_tests_are_not_counted() {
        let lines = |count: usize| format!("//! A file.\n{}", "\n".repeat(count - 1));
        let long = ["src/noun.rs: 601 lines, at most 600: split it"];
        check("src/noun.rs", &lines(600), &[]);
        check("src/noun.rs", &lines(601), &long);
        let tested =
            |count| format!("{}#[cfg(test)]\nmod tests {{\n{}}}\n", lines(count), lines(9));
        check("src/noun.rs", &tested(600), &[]);
        check("src/noun.rs", &tested(601), &long);
        check("tests/it/noun.rs", &lines(601), &[]);
        check("src/noun/tests.rs", &lines(601), &[]);
        check(
            "src/contests.rs",
            &lines(601),
            &["src/contests.rs: 601 lines, at most 600: split it"],
        );
    }

    #[test]
    fn unfinished_code_and_tests_that_do_not_run_are_caught() {
        for (left, what) in LEFTOVERS {
            let text = format!("//! A file.\n    {left}\n");
            check("src/noun.rs", &text, &[&format!("src/noun.rs:2: {what}: {left}")]);
        }
        check("docs/rules.md", &format!("never {}\n", LEFTOVERS[0].0), &[]);
    }

    #[test]
    fn a_path_of_one_machine_is_caught_in_any_file() {
        for start in MACHINE_PATHS {
            let expect = format!("docs/a.md:2: a path of one machine: {start}");
            for text in
                [format!("see\n{start}me/x"), format!("see\n`{start}me`"), format!("\n({start}x)")]
            {
                check("docs/a.md", &text, &[&expect]);
            }
            check("docs/a.md", &format!("some{start}x or https://example.org{start}"), &[]);
            check("docs/a.md", &format!("${{HOME}}{start}x or ..{start}x"), &[]);
        }
    }
}
