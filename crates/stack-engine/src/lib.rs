//! The loop: look, plan, execute, look again. Knows no Linux interface; it drives a [`Host`] under a [`Clock`].

mod bus;
mod dag;
mod engine;
mod host;
mod journal;
mod policy;

pub use bus::{EventBus, Follower};
pub use engine::{Ended, Engine, Message};
pub use host::{Applying, Changed, Clock, Host, Machine, Wake};
pub use journal::{DiskJournal, Journal, JournalStore};
pub use policy::Policy;
