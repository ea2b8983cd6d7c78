//! Plans as text for every rule, and random projects that must converge.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod changes;
mod containers;
mod ends;
mod gates;
mod held;
mod hooks;
mod images;
mod networks;
mod project;
mod random;
mod stops;
mod supply;
mod volumes;
mod world;
