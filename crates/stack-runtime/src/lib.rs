//! One container: create, start, exec, signal, remove.
