//! Haversack.
fn main() {}
