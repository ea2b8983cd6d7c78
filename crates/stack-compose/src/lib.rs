//! The Compose language: files to [`Project`] to `stack_model::Desired`, with the place of every value.
//!
//! Pure but for the [`SourceLoader`] it is given. Bad input is data: every problem becomes a `stack_model::Diagnostic`,
//! all of them at once. `pipeline` has the order of the phases; `keys` has one file for each key of a service.

#[cfg(test)]
mod compose_tests;
mod consistency;
mod context;
mod decode;
mod defaults;
mod discover;
mod document;
mod dotenv;
mod emit;
mod extends;
mod graph;
mod host_access;
mod include;
mod interpolate;
mod keys;
mod lock;
mod lower;
mod lower_steps;
mod natural;
mod nearest;
mod origin;
mod parse;
mod paths;
mod pipeline;
mod project;
mod render;
mod report;
mod roads;
#[cfg(test)]
mod robust_tests;
mod schema;
mod service;
mod shape;
#[cfg(test)]
mod shown_tests;
mod source;
mod support;
#[cfg(test)]
mod testing;
mod text;
mod toplevel;
mod units;
mod used;
mod validate;
mod variables;
mod words;
mod yaml;

pub use emit::emit as to_yaml;
pub use host_access::HostAccess;
pub use lock::{LOCK_FILE, render_lock};
pub use origin::{Candidate, Reason};
pub use pipeline::{Loaded, Phases, load, read};
pub use project::Project;
pub use report::{codes, explain};
pub use roads::Way;
pub use schema::schema;
pub use source::{DiskLoader, MAX_FILE_BYTES, SourceLoader};
pub use used::{UsedVariable, used_variables};
