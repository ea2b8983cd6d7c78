//! OCI images: references, registry client, content store, unpacking.
//!
//! ```text
//!   reference --registry--> manifest, config, blobs --content--> images/   (a standard OCI image layout)
//!                                     | one stream a layer:
//!                                     | download -> sha256 -> decompress -> sha256 -> untar
//!                                     v
//!                                  unpack ------------------> layers/<diff id>/   (renamed in when whole)
//! ```
//!
//! What an image says is never trusted: digests are verified while they stream and before anything gets its final
//! name, a layer is unpacked below a descriptor of its own directory, and every size has a limit. Nothing here knows
//! containers; labels and annotations drive nothing.

mod archive;
mod collect;
mod commit;
mod config;
mod content;
mod credential;
mod digest;
mod error;
mod fetch;
mod layer;
mod lock;
mod login;
mod manifest;
mod names;
pub mod pack;
mod pin;
mod platform;
mod pull;
mod push;
mod reference;
mod refused;
mod registry;
mod resolve;
mod retry;
mod scratch;
mod self_image;
mod settings;
mod store;
mod trouble;
pub mod unpack;

pub use collect::{Collected, Lease, Needed, Usage, disk_usage};
pub use commit::{ImageDocuments, StoredLayer};
pub use config::parse_signal;
pub use error::{ImageError, bare};
pub use lock::{Lock, sweep_locks};
pub use login::{login, logout};
pub use pin::pin;
pub use platform::platform;
pub use pull::Progress;
pub use reference::{InvalidReference, Reference};
pub use self_image::SELF_IMAGE;
pub use settings::{AccessPolicy, access_policy};
pub use store::{Store, StoredImage};
