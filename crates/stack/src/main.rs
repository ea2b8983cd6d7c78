//! The composition root of `stack`.
fn main() {}
