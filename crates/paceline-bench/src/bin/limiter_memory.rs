//! The part of `cargo xtask bench limiter` that counts bytes, with an allocator that counts them.
//!
//! dhat's, which is kept up by the author of the profiler of that name and is meant for exactly
//! this; an allocator of our own would need unsafe code.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use paceline_bench::limiter::measure_memory;
use paceline_bench::program;

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
    program::end(program::keep(&rows, arguments.out.as_deref()))
}
