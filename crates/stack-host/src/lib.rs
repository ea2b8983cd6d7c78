//! The real machine behind the engine's Host trait, and the supervisor around it.
