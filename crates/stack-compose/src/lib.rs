//! The Compose language: file to Project to Desired, with spans.
