//! Bridges, sandboxes, rules and ports on the real kernel. Every test makes a network namespace of its own that plays
//! the host, so the real one is never touched; without root all of them skip.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod bridge;
mod port;
mod rules;
mod sandbox;
mod world;
