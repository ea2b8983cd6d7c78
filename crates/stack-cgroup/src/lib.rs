//! Resource limits as cgroup writes, for v1, hybrid and v2.
