//! The flags, as runc and crun have them.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// What engines read: the version of the specification, and what else this is made with.
const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), "\nspec: 1.3.0\n+SECCOMP +CAP");

/// Runs containers from OCI bundles.
#[derive(Debug, Parser)]
#[command(name = "stack-oci", disable_help_subcommand = true, args_override_self = true, version = VERSION)]
#[command(disable_version_flag = true)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) global: Global,
    /// Show the version
    #[arg(short, long, action = clap::ArgAction::Version)]
    version: Option<bool>,
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

/// What every command takes.
#[derive(Debug, Args)]
pub(crate) struct Global {
    /// Directory of the containers' states
    #[arg(long, global = true, value_name = "DIR")]
    pub(crate) root: Option<PathBuf>,
    /// File that errors are written to as well
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) log: Option<PathBuf>,
    /// How they are written
    #[arg(long, global = true, value_enum, default_value = "text", value_name = "FORMAT")]
    pub(crate) log_format: LogFormat,
    /// Lowest level that is logged; errors are all there is
    #[arg(long, global = true, value_name = "LEVEL", hide = true)]
    log_level: Option<String>,
    /// Cgroups where systemd would make them; an error where it does not run
    #[arg(long, global = true)]
    pub(crate) systemd_cgroup: bool,
    /// Who makes cgroups; it is always this program
    #[arg(long, global = true, value_name = "NAME")]
    cgroup_manager: Option<String>,
    /// Accepted for compatibility
    #[arg(long, global = true)]
    debug: bool,
    /// Accepted for compatibility: whether it is root is looked at
    #[arg(id = "is_rootless", long = "rootless", value_name = "VALUE", hide = true)]
    rootless: Option<String>,
}

/// How a log is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    Text,
    Json,
}

#[derive(Debug, Subcommand)]
#[command(defer = true)]
pub(crate) enum Verb {
    /// Make a container and leave it waiting
    Create(CreateArgs),
    /// Execute the program of a container that waits
    Start(IdArgs),
    /// Create, start, follow, and delete
    Run(RunArgs),
    /// Show the state of a container
    State(IdArgs),
    /// Send a signal
    Kill(KillArgs),
    /// Remove a container that has ended
    Delete(DeleteArgs),
    /// Run a program in a container
    Exec(ExecArgs),
    /// Stop all processes of a container where they are
    Pause(IdArgs),
    /// Let them go on
    Resume(IdArgs),
    /// Change the limits of a container
    Update(UpdateArgs),
    /// Show the processes of a container
    Ps(PsArgs),
    /// Show all containers
    List(ListArgs),
    /// Show what a container uses
    Events(EventsArgs),
    /// Write a configuration to begin with
    Spec(SpecArgs),
    /// Show what the runtime can do
    Features,
    /// Not supported
    Checkpoint(AnyArgs),
    /// Not supported
    Restore(AnyArgs),
}

#[derive(Debug, Args)]
pub(crate) struct AnyArgs {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, hide = true)]
    _words: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct IdArgs {
    /// The container
    pub(crate) id: String,
}

#[derive(Debug, Args)]
pub(crate) struct CreateArgs {
    /// Name of the new container
    pub(crate) id: String,
    /// Directory of its configuration
    #[arg(short, long, value_name = "DIR", default_value = ".")]
    pub(crate) bundle: PathBuf,
    /// The configuration in there
    #[arg(short = 'f', long, value_name = "FILE", default_value = "config.json")]
    pub(crate) config: PathBuf,
    /// Write the process id to a file
    #[arg(long, value_name = "FILE")]
    pub(crate) pid_file: Option<PathBuf>,
    /// Send the terminal to a socket
    #[arg(long, value_name = "SOCKET")]
    pub(crate) console_socket: Option<PathBuf>,
    /// Descriptors to keep after the three streams
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) preserve_fds: u16,
    /// Do without pivot_root
    #[arg(long)]
    pub(crate) no_pivot: bool,
    /// Accepted for compatibility: a session keyring is always made
    #[arg(long)]
    no_new_keyring: bool,
    /// Accepted for compatibility: there is none
    #[arg(long)]
    no_subreaper: bool,
}

#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    #[command(flatten)]
    pub(crate) create: CreateArgs,
    /// Return once it runs
    #[arg(short, long)]
    pub(crate) detach: bool,
    /// Leave it when it has ended
    #[arg(long)]
    pub(crate) keep: bool,
}

#[derive(Debug, Args)]
pub(crate) struct KillArgs {
    /// The container
    pub(crate) id: String,
    /// Name or number
    #[arg(default_value = "TERM")]
    pub(crate) signal: String,
    /// To every process of it
    #[arg(short, long)]
    pub(crate) all: bool,
    /// The name is a regular expression
    #[arg(short, long)]
    pub(crate) regex: bool,
}

#[derive(Debug, Args)]
pub(crate) struct DeleteArgs {
    /// The container
    pub(crate) id: String,
    /// End it first
    #[arg(short, long)]
    pub(crate) force: bool,
    /// The name is a regular expression
    #[arg(short, long)]
    pub(crate) regex: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ExecArgs {
    /// File with the process in JSON
    #[arg(short, long, value_name = "FILE")]
    pub(crate) process: Option<PathBuf>,
    /// Working directory
    #[arg(long, value_name = "DIR")]
    pub(crate) cwd: Option<String>,
    /// Variable
    #[arg(short, long, value_name = "NAME=VALUE")]
    pub(crate) env: Vec<String>,
    /// User and group
    #[arg(short, long, value_name = "UID[:GID]")]
    pub(crate) user: Option<String>,
    /// Further group
    #[arg(short = 'g', long, value_name = "GID")]
    pub(crate) additional_gids: Vec<u32>,
    /// With a terminal
    #[arg(short, long)]
    pub(crate) tty: bool,
    /// Return once it runs
    #[arg(short, long)]
    pub(crate) detach: bool,
    /// Further capability
    #[arg(short, long, value_name = "NAME")]
    pub(crate) cap: Vec<String>,
    /// Forbid new privileges
    #[arg(long)]
    pub(crate) no_new_privs: bool,
    /// Write the process id to a file
    #[arg(long, value_name = "FILE")]
    pub(crate) pid_file: Option<PathBuf>,
    /// Send the terminal to a socket
    #[arg(long, value_name = "SOCKET")]
    pub(crate) console_socket: Option<PathBuf>,
    /// Descriptors to keep after the three streams
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) preserve_fds: u16,
    /// A cgroup below the container's, of some controllers or of all
    #[arg(long, value_name = "[CONTROLLERS:]PATH")]
    pub(crate) cgroup: Vec<String>,
    /// Also while it is paused
    #[arg(long)]
    pub(crate) ignore_paused: bool,
    /// AppArmor profile
    #[arg(long, value_name = "PROFILE")]
    pub(crate) apparmor: Option<String>,
    /// SELinux label
    #[arg(long, value_name = "LABEL")]
    pub(crate) process_label: Option<String>,
    /// The container
    pub(crate) id: String,
    /// Program and arguments
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub(crate) argv: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct UpdateArgs {
    /// The container
    pub(crate) id: String,
    /// File with resources in JSON, `-` for standard input
    #[arg(short, long, value_name = "FILE")]
    pub(crate) resources: Option<PathBuf>,
    /// Bytes, or with a unit
    #[arg(long, allow_hyphen_values = true)]
    pub(crate) memory: Option<Size>,
    /// Bytes, or with a unit
    #[arg(long, allow_hyphen_values = true)]
    pub(crate) memory_reservation: Option<Size>,
    /// Bytes of memory and swap, or with a unit
    #[arg(long, allow_hyphen_values = true)]
    pub(crate) memory_swap: Option<Size>,
    /// No kernel of today heeds it
    #[arg(long, allow_hyphen_values = true, hide = true)]
    pub(crate) kernel_memory: Option<Size>,
    /// Bytes of socket buffers (version 1)
    #[arg(long, allow_hyphen_values = true)]
    pub(crate) kernel_memory_tcp: Option<Size>,
    /// Microseconds that may be saved up
    #[arg(long)]
    pub(crate) cpu_burst: Option<u64>,
    /// Microseconds of realtime in each period
    #[arg(long, allow_hyphen_values = true)]
    pub(crate) cpu_rt_runtime: Option<i64>,
    /// Microseconds
    #[arg(long)]
    pub(crate) cpu_rt_period: Option<u64>,
    /// Only when nobody else wants to
    #[arg(long, allow_hyphen_values = true)]
    pub(crate) cpu_idle: Option<i64>,
    /// Microseconds in each period
    #[arg(long, allow_hyphen_values = true)]
    pub(crate) cpu_quota: Option<i64>,
    /// Microseconds
    #[arg(long)]
    pub(crate) cpu_period: Option<u64>,
    /// Weight among others
    #[arg(long, visible_alias = "cpu-shares")]
    pub(crate) cpu_share: Option<u64>,
    /// Processors
    #[arg(long)]
    pub(crate) cpuset_cpus: Option<String>,
    /// Memory nodes
    #[arg(long)]
    pub(crate) cpuset_mems: Option<String>,
    /// Processes and threads
    #[arg(long, allow_hyphen_values = true)]
    pub(crate) pids_limit: Option<i64>,
    /// Weight among others
    #[arg(long)]
    pub(crate) blkio_weight: Option<u16>,
}

#[derive(Debug, Args)]
pub(crate) struct PsArgs {
    /// The container
    pub(crate) id: String,
    /// `table` or `json`
    #[arg(short, long, value_name = "FORMAT", default_value = "table")]
    pub(crate) format: String,
    /// Options of ps(1): `-ef` by default
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "PS OPTIONS")]
    pub(crate) options: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    /// `table` or `json`
    #[arg(short, long, value_name = "FORMAT", default_value = "table")]
    pub(crate) format: String,
    /// Names only
    #[arg(short, long)]
    pub(crate) quiet: bool,
}

#[derive(Debug, Args)]
pub(crate) struct EventsArgs {
    /// The container
    pub(crate) id: String,
    /// Once
    #[arg(long)]
    pub(crate) stats: bool,
    /// Seconds between two lines
    #[arg(long, value_name = "DURATION", default_value = "5s")]
    pub(crate) interval: String,
}

#[derive(Debug, Args)]
pub(crate) struct SpecArgs {
    /// Directory to write it to
    #[arg(short, long, value_name = "DIR", default_value = ".")]
    pub(crate) bundle: PathBuf,
    /// Its name in there
    #[arg(short, long, value_name = "FILE", default_value = "config.json")]
    pub(crate) file: PathBuf,
    /// With a user namespace
    #[arg(long)]
    pub(crate) rootless: bool,
}

/// A number of bytes, with one of the units that engines write, powers of 1024. -1 is no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Size(pub(crate) i64);

impl std::str::FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is no number of bytes");
        let digits = text.find(|one: char| !one.is_ascii_digit() && one != '-').unwrap_or(text.len());
        let (number, unit) = text.split_at(digits);
        let unit = unit.trim_end_matches(['b', 'B']).trim_end_matches('i').to_ascii_lowercase();
        let power = ["", "k", "m", "g", "t", "p"].iter().position(|one| *one == unit).ok_or_else(wrong)?;
        let number = number.parse::<i64>().ok().and_then(|number| number.checked_mul(1 << (10 * power)));
        number.map(Self).ok_or_else(wrong)
    }
}
