//! The part of `cargo xtask bench overhead` that counts allocations, with an allocator that counts them.
//!
//! A program of its own, as counting would slow down whatever else is measured.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use paceline_bench::overhead::{measure_allocations, serve};
use paceline_bench::program;

#[global_allocator]
static ALLOCATOR: dhat::Alloc = dhat::Alloc;

/// Measures what a call allocates.
#[derive(Debug, Parser)]
struct Arguments {
    /// Where the rows go, as JSON.
    #[arg(long)]
    out: Option<PathBuf>,
    /// Be the server.
    #[arg(long, hide = true)]
    serve: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if arguments.serve {
        return program::end(serve());
    }
    program::end(run(&arguments))
}

fn run(arguments: &Arguments) -> Result<(), String> {
    let profiler = dhat::Profiler::builder().testing().build();
    let rows = measure_allocations(&|| {
        let stats = dhat::HeapStats::get();
        (stats.total_blocks, stats.total_bytes)
    });
    drop(profiler);
    program::keep(&rows?, arguments.out.as_deref())
}
