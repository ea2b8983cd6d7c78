//! The Compose language: files to [`Project`] to `stack_model::Desired`, with the place of every value.
//!
//! Pure but for the [`SourceLoader`] it is given. Bad input is data: every problem becomes a `stack_model::Diagnostic`,
//! all of them at once. `pipeline` has the order of the phases; `keys` has one file for each key of a service.

mod context;
mod decode;
mod discover;
mod dotenv;
mod graph;
mod interpolate;
mod keys;
mod lower;
mod merge;
mod nearest;
mod parse;
mod pipeline;
mod project;
mod render;
mod report;
#[cfg(test)]
mod robust_tests;
mod service;
mod source;
#[cfg(test)]
mod testing;
mod text;
mod toplevel;
mod units;
mod variables;
mod yaml;

pub use pipeline::{Loaded, load};
pub use project::Project;
pub use source::{DiskLoader, MAX_FILE_BYTES, SourceLoader};
