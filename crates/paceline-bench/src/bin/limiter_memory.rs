//! The part of `cargo xtask bench limiter` that counts bytes, with an allocator that counts them.
//!
//! dhat's, which is kept up by the author of the profiler of that name and is meant for exactly
//! this; an allocator of our own would need unsafe code.

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use paceline_bench::limiter::measure_memory;

#[global_allocator]
static ALLOCATOR: dhat::Alloc = dhat::Alloc;

/// Measures how much memory a limit takes.
#[derive(Debug, Parser)]
struct Arguments {
    /// Where the rows go, as JSON.
    #[arg(long)]
    out: Option<PathBuf>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let profiler = dhat::Profiler::builder().testing().build();
    let rows = measure_memory(&|| dhat::HeapStats::get().curr_bytes);
    drop(profiler);
    let Some(out) = arguments.out else {
        say(&rows);
        return ExitCode::SUCCESS;
    };
    let folder = out.parent().map_or(Ok(()), fs::create_dir_all);
    match folder.and_then(|()| fs::write(&out, &rows)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            complain(&format!("can't write {}: {why}", out.display()));
            ExitCode::from(2)
        }
    }
}

#[expect(clippy::print_stdout, reason = "what this program says goes through here")]
fn say(line: &str) {
    println!("{line}");
}

#[expect(clippy::print_stderr, reason = "what this program complains of goes through here")]
fn complain(why: &str) {
    eprintln!("error: {why}");
}
