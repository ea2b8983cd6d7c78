//! Safe functions for the system calls that nix and rustix lack; the only unsafe code.
