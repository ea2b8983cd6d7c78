//! Every decision: reconcile, field classes, order, back-off, health.
