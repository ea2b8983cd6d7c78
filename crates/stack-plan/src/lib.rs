//! Every decision: what is wanted and what there is go in, the steps that close the difference come out.
//!
//! The crate is pure: no clock, no input or output, no randomness. [`plan`] never fails; what cannot be done stands in
//! the plan as blocked, with the reason. It must not know how an operation is carried out.
//!
//! The order of work in [`plan`]:
//!
//! ```text
//! graph     which service depends on which                      (petgraph)
//! network   a bridge and a subnet for each network
//! survey    for each replica: keep, create, replace, restart
//! resolve   what a new container is, with every choice made     (allot: addresses and ports)
//! leave     stop and remove what goes away, dependents first
//! arrive    networks, volumes, new containers, changed records
//! surface   the rule set and the names of all that will run
//! start     dependencies first, behind their gates
//! ```
//!
//! Before that, [`supply`] decides for a command which images are fetched or built.

mod allot;
mod arrive;
mod classify;
mod draft;
mod graph;
pub mod health;
mod hooks;
mod leave;
pub mod lint;
mod network;
mod reconcile;
mod remember;
mod resolve;
mod restart;
mod start;
mod supply;
mod surface;
mod survey;
mod words;

pub use classify::{Change, compare, most_severe};
pub use graph::with_dependencies;
pub use reconcile::{emptied, plan};
pub use remember::{note_failure, note_success};
pub use restart::{backoff, stays_down};
pub use supply::{BuildWhen, Held, Otherwise, Refusal, Supply, SupplyOptions, build_waves, is_named, supply};

/// Version of the [`stack_model::Container`] records that this crate writes.
pub const RECORD_SCHEMA: u32 = 1;
