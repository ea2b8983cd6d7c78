//! The runtime as the OCI runtime-spec has it: bundles, the five operations, and what engines expect around them.
//!
//! A bundle's configuration is lowered to the orders that `stack up` renders too (`spec::InitSpec`), and the same
//! steps carry them out. What is different is who waits for whom:
//!
//! ```text
//!  create                                 init                                        start
//!    | clone3                               |                                           |
//!    |------------------------------------->|                                           |
//!    | maps; begin                          |                                           |
//!    |------------------------------------->| namespaces, mounts                        |
//!    | joins the cgroups for it             |                                           |
//!    |                            mounted   |                                           |
//!    |<- - - - - - - - - - - - - - - - - - -|                                           |
//!    | prestart and createRuntime hooks; go on                                          |
//!    |------------------------------------->| createContainer hooks, root, terminal     |
//!    |                            created   |                                           |
//!    |<- - - - - - - - - - - - - - - - - - -|                                           |
//!    | state.json, ends                     | accepts on start.sock       connects, go  |
//!                                           |<------------------------------------------|
//!                                           | startContainer hooks, exec                |
//!                                           |  failed {step}, or the end of the socket  |
//!                                           |- - - - - - - - - - - - - - - - - - - - - >| poststart hooks
//! ```

mod birth;
mod create;
mod docker_profile;
mod document;
mod exec;
mod features;
mod filter;
mod holder;
mod lower;
mod lower_process;
mod mount_options;
mod operate;
mod owners;
mod plan;
mod resources;
mod scope;
mod socket;
mod state;

use std::io;
use std::os::fd::BorrowedFd;
use std::path::PathBuf;

use crate::error::StepFailure;

pub(crate) use docker_profile::docker_profile;
pub(crate) use lower::mounted;

pub use create::{CreateOptions, Created};
pub use exec::ProcessOptions;
pub use features::{default_spec, features};
pub use operate::Statistics;
pub use state::{Listed, now};

/// The newest version of the specification that is implemented.
pub const OCI_VERSION: &str = "1.3.0";

/// What goes wrong with a bundle or a container.
#[derive(Debug, thiserror::Error)]
pub enum OciError {
    /// No such container.
    #[error("container `{0}` does not exist")]
    Missing(String),
    /// The name is taken.
    #[error("container `{0}` already exists")]
    Exists(String),
    /// The name cannot be one.
    #[error("{}", name_text(.0))]
    Name(String),
    /// The operation does not fit the container's status.
    #[error("cannot {operation} container `{id}`: it is {status}")]
    Status {
        /// What was to be done.
        operation: &'static str,
        /// To what.
        id: String,
        /// What it is.
        status: String,
    },
    /// Nothing can run in it.
    #[error("cannot exec in a paused container: resume `{0}` first, or give --ignore-paused")]
    Paused(String),
    /// The configuration is wrong.
    #[error("config.json: {0}")]
    Spec(String),
    /// The command line.
    #[error("{0}")]
    Usage(String),
    /// A file.
    #[error("cannot {what}")]
    File {
        /// What was being done.
        what: String,
        /// Why.
        source: io::Error,
    },
    /// A step of the new process.
    #[error("{0}")]
    Step(StepFailure),
    /// The cgroup.
    #[error("cannot limit the container")]
    Cgroup(#[from] stack_cgroup::CgroupError),
    /// Anything of the runtime that `stack up` shares.
    #[error(transparent)]
    Runtime(#[from] crate::RuntimeError),
}

/// Which character it is, in the words of the other runtimes.
fn name_text(id: &str) -> String {
    match id.chars().find(|one| !state::fits_name(*one)) {
        Some(one) => format!("invalid character `{one}` in the ID `{id}`: it has letters, digits, and `_+-.`"),
        None => format!("invalid ID `{id}`: it has 1 to 1024 letters, digits, and `_+-.`, and is not `.` or `..`"),
    }
}

impl OciError {
    fn file(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |source| Self::File { what, source }
    }
}

/// Where containers are known, and how.
#[derive(Debug, Clone)]
pub struct Runtime {
    /// The directory of the containers' states.
    pub root: PathBuf,
    /// Moves the interfaces that a configuration names; without it there must be none.
    pub give_interface: Option<GiveInterface>,
}

/// Moves an interface of the calling thread's network namespace, by name, into another namespace, where it has the
/// second name.
pub type GiveInterface = fn(&str, &str, BorrowedFd<'_>) -> Result<(), String>;

impl Runtime {
    /// The runtime with its states in `root`, or where they are by default.
    pub fn new(root: Option<PathBuf>) -> Self {
        Self { root: root.unwrap_or_else(default_root), give_interface: None }
    }
}

fn default_root() -> PathBuf {
    let own = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    match own.filter(|path| path.is_absolute() && !rustix::process::geteuid().is_root()) {
        Some(own) => own.join("stack-oci"),
        None => PathBuf::from("/run/stack-oci"),
    }
}
