//! The binary: flags, config and wiring.

fn main() {}
