//! Progress as events, one JSON value a line.

use stack_model::Stamped;

/// An event as a line.
pub(crate) fn line(stamped: &Stamped) -> Option<String> {
    serde_json::to_string(stamped).ok()
}
