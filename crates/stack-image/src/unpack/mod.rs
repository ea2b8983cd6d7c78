//! Unpacking a layer.
mod error;
pub use error::{Refusal, UnpackError};
