//! What the kernel tests and the scenarios share.
