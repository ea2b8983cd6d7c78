//! What the scenarios share: a world of their own, an inventory of the kernel, and waiting for things to become true.

mod archive;
mod inventory;
mod kernel;
mod wait;
mod world;

pub use archive::{docker_archive, docker_archive_of};
pub use inventory::Inventory;
pub use kernel::tells_of_ends;
pub use wait::eventually;
pub use world::{Run, World, binary, get, request};
