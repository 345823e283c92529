//! The program behind `cargo xtask bench admission`.

fn main() {}
