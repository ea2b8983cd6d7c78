//! Histories of the engine on the simulated machine. A failure prints its seed; `STACK_SIM_SEED=n` runs only that one,
//! and `STACK_SIM_COUNT=n` runs that many of each kind, from `STACK_SIM_FROM` on.

mod chaos;
mod crash;
mod lifecycle;
mod scale;
mod trial;
