//! The loop: look, plan, execute, look again. Knows no Linux interface; it drives a [`Host`] under a [`Clock`].
//!
//! One task owns everything ([`Engine::run`]); others send it [`Message`]s and follow its [`EventBus`]. It is
//! level-triggered: a wake-up only makes it look sooner, and losing all of them costs one resync.
//!
//! ```text
//! Message --> policy (what is wanted of the file) --> Desired --+
//!                                                               v
//!     host.wait() --> due? --> host.observe() --> stack_plan::plan() --> schedule --> host.apply() --+
//!                       ^                                                                             |
//!                       +--------------------------- a step ended ------------------------------------+
//! ```

mod bus;
mod disk;
mod engine;
mod flight;
mod host;
mod input;
mod journal;
mod latency;
mod message;
mod policy;
mod schedule;
mod step;
mod turn;

pub use bus::{EventBus, Events};
pub use disk::DiskJournal;
pub use engine::Engine;
pub use host::{Applying, Changed, Clock, Host, Machine, Wake};
pub use journal::{Journal, JournalError, JournalStore, MemoryJournal, Survives};
pub use latency::{Histogram, Latency};
pub use message::{Ended, Message};
pub use policy::{Farewell, Policy, Selection};
