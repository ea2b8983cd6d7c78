//! What the scenarios share: a world of their own, an inventory of the kernel, and waiting for things to become true.

mod inventory;
mod wait;
mod world;

pub use inventory::Inventory;
pub use wait::eventually;
pub use world::{Run, World, get, request};
