//! Kernel tests and scenarios.
fn main() {}
