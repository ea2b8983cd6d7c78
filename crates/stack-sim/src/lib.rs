//! A machine in memory with seeded faults, for tests of the engine.
