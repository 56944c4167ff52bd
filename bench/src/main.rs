//! Side-by-side measurements of Underpin and its peers.

fn main() {}
