//! The loop: look, plan, execute, look again. Knows no Linux interface; it drives a [`Host`] under a [`Clock`].

mod host;

pub use host::{Applying, Changed, Clock, Host, Machine, Wake};
