//! YAML text to a tree that remembers where everything stands.

mod node;
mod read;
mod scalar;
mod syntax;

pub(crate) use node::{Entry, Kind, Layout, Mapping, Node, Piece, Tag, Value};
pub(crate) use read::read;
pub(crate) use scalar::{print_float, resolve, rfc3339, unsigned};
