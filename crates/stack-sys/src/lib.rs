//! Safe functions for the system calls that nix and rustix lack: the only unsafe code of the workspace.
//!
//! One function a system call, descriptors as `OwnedFd` in and out, close-on-exec from birth. No domain words, no
//! policy, no retries.

#![expect(unsafe_code, reason = "this crate is where it is allowed")]

mod bpf;
mod clone;
mod directory;
mod exec;
mod heap;
mod info;
mod keyring;
mod mount;
mod range;
mod schedule;
mod seccomp;
mod signal;

pub use bpf::{device_programs, load_device_program, set_device_program};
pub use clone::{Cloned, Namespaces, SingleThreaded, clone_process};
pub use directory::spread_out;
pub use exec::{end_process, execute_descriptor};
pub use heap::{release_free_memory, use_one_arena};
pub use info::{PidfdExit, pidfd_exit};
pub use keyring::join_session_keyring;
pub use mount::{MountAttributes, MountChange, change_mount, set_mount_attributes};
pub use range::{close_from, close_on_exec_from, duplicate_to, leave_descriptors, take_descriptor};
pub use schedule::{Schedule, set_io_priority, set_limit, set_memory_policy, set_personality, set_schedule};
pub use seccomp::install_filter;
pub use signal::{reset_signals, signal_process};
