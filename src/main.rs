//! The program: parse, configure, run, exit code; nothing else.

fn main() {}
