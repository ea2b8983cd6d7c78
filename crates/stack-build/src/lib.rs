//! Dockerfile to image.
//!
//! ```text
//!  text --lex--> instructions --graph--> stages (unused ones are left out, the others run side by side)
//!                                          | step by step
//!          key over instruction, inputs by content, what is below ----> made before: take its layer
//!                                          | else
//!     RUN: a container of stack-runtime    |   COPY, ADD, WORKDIR: files below openat2(2), links stay inside
//!                                          v
//!          upper directory of an overlay --pack--> tar --> store (verified and unpacked like any other layer)
//! ```
//!
//! RUN has a bridge of its own for the build, with a way out, or the host's network, or none.
//!
//! [`Builder`] works in a mount namespace of its own, so whatever dies, the kernel removes the mounts; the directories
//! of a build that died are removed by the next one.

mod add;
mod agent;
mod cache;
mod config;
mod copy;
mod error;
mod event;
mod files;
mod glob;
mod graph;
mod ignore;
mod lex;
mod mounts;
mod network;
mod remote;
mod run;
mod solve;
mod sources;
mod stage;
mod steps;
mod time;
mod words;
mod workshop;

pub use cache::{cached_layers, forget};
pub use error::{BuildError, Mistake};
pub use event::{BuildEvent, StepId};
pub use solve::{Builder, Built, Halted, Surroundings, bases};
pub use steps::LAST_LINES;
pub use workshop::sweep;
