//! Kernel tests and scenarios: the built program on the real machine. `cargo xtask test` runs them with what they need.

mod scenarios;
