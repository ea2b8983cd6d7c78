//! Histories of the engine on the simulated machine. A failure prints its seed; `STACK_SIM_SEED=n` runs only that one.
//! `STACK_SIM_TIMES=n` runs n times as many of each kind, and `STACK_SIM_FROM=n` begins with another seed.

mod chaos;
mod crash;
mod lifecycle;
mod scale;
mod trial;
