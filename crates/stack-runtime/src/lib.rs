//! One container: create, start, exec, attach, copy, signal, remove. Knows no other container and no network beyond the
//! namespace it is handed.

mod attached;
mod capabilities;
mod device;
mod ending;
mod enter;
mod error;
mod hooks;
mod init;
mod listing;
pub mod log;
pub mod oci;
mod process;
mod record;
mod seccomp;
mod spawner;
mod spec;
mod transfer;
mod tree;
mod users;

use std::os::fd::OwnedFd;

pub use attached::{AttachOptions, Attachment, End, ensure_sealed, run_exec};
pub use ending::{complete_exit, ending_of_failure, memory_kills};
pub use enter::{ExecOptions, exec_quietly};
pub use error::{RuntimeError, StepFailure};
pub use listing::{HostFacts, ProcessRow};
pub use process::{exit_of, hears_signal, signal, streams_of, this_client};
pub use record::{
    adopt, create_container, observe_containers, open_output, record_hooks, record_state, recorded_hooks,
    remove_container, sweep_half_made, update_record,
};
pub use spawner::{Predecessors, SPAWNER_ARGUMENT, Spawner, Started, spawner_main};
pub use spec::{GeneratedFile, StartSpec};
pub use transfer::{Side, Transfer, TransferError, transfer};

/// A running container that was found.
#[derive(Debug)]
pub struct Adopted {
    /// Refers to its process 1.
    pub pidfd: OwnedFd,
    /// The master of its terminal, if it has one.
    pub terminal: Option<OwnedFd>,
}
