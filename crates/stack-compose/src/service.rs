//! A service as the file describes it, in the typed long form. One field for each key of `keys/`.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;

use indexmap::IndexMap;
use stack_model::{
    self as model, Blkio, Condition, Device, ExtraHost, FileKind, Hook, HostPort, Protocol, PullPolicy, RestartPolicy,
    Security, Ulimit,
};

use crate::text::{Span, Spanned};

/// A service.
#[derive(Debug, Clone, Default)]
pub(crate) struct Service {
    pub(crate) name: String,
    /// The place of its name.
    pub(crate) span: Span,
    /// Where each field was written, by the file's path below the service.
    pub(crate) origins: Vec<(String, Span)>,
    /// Its image is built.
    pub(crate) builds: bool,
    /// A program outside the project makes it.
    pub(crate) provided: bool,

    pub(crate) attach: Option<bool>,
    pub(crate) blkio: Blkio,
    /// Where a weight stands.
    pub(crate) blkio_weight: Option<Span>,
    pub(crate) build: Option<Box<Build>>,
    pub(crate) cap_add: Vec<Spanned<String>>,
    pub(crate) cap_drop: Vec<Spanned<String>>,
    /// The view of cgroups is the host's.
    pub(crate) cgroup_of_host: bool,
    pub(crate) command: Option<Vec<String>>,
    pub(crate) configs: Vec<FileReference>,
    pub(crate) container_name: Option<Spanned<String>>,
    pub(crate) cpu_period: Option<Spanned<i64>>,
    pub(crate) cpu_quota: Option<Spanned<i64>>,
    pub(crate) cpu_shares: Option<Spanned<i64>>,
    pub(crate) cpus: Option<Spanned<u64>>,
    pub(crate) cpuset: Option<String>,
    pub(crate) depends_on: IndexMap<String, Dependency>,
    pub(crate) deploy: Option<Box<Deploy>>,
    pub(crate) device_cgroup_rules: Vec<String>,
    pub(crate) devices: Vec<Device>,
    pub(crate) dns: Vec<IpAddr>,
    pub(crate) dns_opt: Vec<String>,
    pub(crate) dns_search: Vec<String>,
    pub(crate) domainname: Option<String>,
    pub(crate) entrypoint: Option<Vec<String>>,
    pub(crate) env_file: Vec<EnvFile>,
    pub(crate) environment: IndexMap<String, Spanned<Option<String>>>,
    pub(crate) extra_hosts: Vec<ExtraHost>,
    pub(crate) group_add: Vec<String>,
    pub(crate) healthcheck: Option<Healthcheck>,
    pub(crate) hostname: Option<Spanned<String>>,
    pub(crate) image: Option<Spanned<String>>,
    pub(crate) init: Option<bool>,
    pub(crate) ipc: Option<Spanned<NamespaceSource>>,
    pub(crate) label_file: Vec<Spanned<PathBuf>>,
    pub(crate) labels: IndexMap<String, String>,
    /// Bytes.
    pub(crate) log_size: Option<u64>,
    pub(crate) mac_address: Option<[u8; 6]>,
    pub(crate) mem_limit: Option<Spanned<u64>>,
    pub(crate) mem_reservation: Option<Spanned<u64>>,
    pub(crate) mem_swappiness: Option<Spanned<i64>>,
    /// `None` inside: without limit.
    pub(crate) memswap_limit: Option<Spanned<Option<u64>>>,
    pub(crate) links: Vec<Spanned<Link>>,
    pub(crate) network_mode: Option<Spanned<NetworkSource>>,
    pub(crate) networks: Option<IndexMap<String, Attachment>>,
    pub(crate) oom_kill_disable: Option<Spanned<bool>>,
    pub(crate) oom_score_adj: Option<Spanned<i64>>,
    pub(crate) pid: Option<Spanned<NamespaceSource>>,
    pub(crate) pids_limit: Option<Spanned<i64>>,
    pub(crate) ports: Vec<Port>,
    pub(crate) post_start: Vec<Hook>,
    pub(crate) pre_start: Vec<Step>,
    pub(crate) pre_stop: Vec<Hook>,
    pub(crate) privileged: Option<bool>,
    pub(crate) profiles: Vec<Spanned<String>>,
    pub(crate) pull_policy: Option<Spanned<PullPolicy>>,
    pub(crate) pull_refresh_after: Option<model::Millis>,
    pub(crate) read_only: Option<bool>,
    pub(crate) restart: Option<Spanned<RestartPolicy>>,
    pub(crate) scale: Option<Spanned<u32>>,
    /// The file that `security` takes its filter from.
    pub(crate) seccomp_file: Option<Spanned<PathBuf>>,
    pub(crate) secrets: Vec<FileReference>,
    pub(crate) security: Security,
    pub(crate) shm_size: Option<Spanned<u64>>,
    pub(crate) stdin_open: Option<bool>,
    /// Nanoseconds.
    pub(crate) stop_grace_period: Option<Spanned<u64>>,
    pub(crate) stop_signal: Option<Spanned<(String, i32)>>,
    pub(crate) sysctls: IndexMap<String, String>,
    pub(crate) tmpfs: Vec<Tmpfs>,
    pub(crate) tty: Option<bool>,
    pub(crate) ulimits: BTreeMap<String, Ulimit>,
    pub(crate) user: Option<String>,
    /// The host name is the host's.
    pub(crate) uts_of_host: bool,
    pub(crate) volumes: Vec<VolumeMount>,
    pub(crate) volumes_from: Vec<Spanned<VolumesFrom>>,
    pub(crate) working_dir: Option<String>,
}

impl Service {
    /// How many containers it wants.
    pub(crate) fn replicas(&self) -> Spanned<u32> {
        let deploy = self.deploy.as_ref().and_then(|deploy| deploy.replicas.clone());
        deploy.or_else(|| self.scale.clone()).unwrap_or(Spanned::new(1, self.span))
    }

    /// It has a network of its own and names none.
    pub(crate) fn uses_default_network(&self) -> bool {
        !self.provided && self.network_mode.is_none() && self.networks.as_ref().is_none_or(IndexMap::is_empty)
    }

    /// One of its profiles is asked for, or it has none.
    pub(crate) fn is_active(&self, profiles: &[String]) -> bool {
        let asked = |profile: &Spanned<String>| profiles.iter().any(|asked| asked == "*" || *asked == profile.value);
        self.profiles.is_empty() || self.profiles.iter().any(asked)
    }
}

/// `build`.
#[derive(Debug, Clone, Default)]
pub(crate) struct Build {
    pub(crate) context: PathBuf,
    pub(crate) dockerfile: Option<PathBuf>,
    pub(crate) dockerfile_inline: Option<String>,
    pub(crate) args: IndexMap<String, Option<String>>,
    pub(crate) target: Option<String>,
    pub(crate) tags: Vec<String>,
    pub(crate) labels: IndexMap<String, String>,
    pub(crate) no_cache: bool,
    pub(crate) no_cache_filter: Vec<String>,
    pub(crate) pull: bool,
    pub(crate) cache_from: Vec<String>,
    pub(crate) platforms: Vec<String>,
    /// Id and the secret of the file.
    pub(crate) secrets: Vec<(String, String)>,
    /// Id and socket; `None` is that of the environment.
    pub(crate) ssh: Vec<(String, Option<PathBuf>)>,
    pub(crate) network: model::BuildNetwork,
    pub(crate) extra_hosts: Vec<(String, String)>,
    pub(crate) shm_size: Option<u64>,
    pub(crate) ulimits: BTreeMap<String, Ulimit>,
    pub(crate) additional_contexts: IndexMap<String, BuildContext>,
}

/// An entry of `build.additional_contexts`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum BuildContext {
    Directory(PathBuf),
    Image(String),
    Service(String),
}

/// An edge of `depends_on`.
#[derive(Debug, Clone)]
pub(crate) struct Dependency {
    pub(crate) span: Span,
    pub(crate) condition: Condition,
    pub(crate) restart: bool,
    pub(crate) required: bool,
}

/// `deploy`.
#[derive(Debug, Clone, Default)]
pub(crate) struct Deploy {
    /// Where `limits` and `reservations` stand, if they do.
    pub(crate) limits: Option<Span>,
    pub(crate) reservations: Option<Span>,
    pub(crate) replicas: Option<Spanned<u32>>,
    pub(crate) restart: Option<RestartPolicy>,
    /// `mode: global`: one container on each machine.
    pub(crate) one_each: Option<Span>,
    /// Nanoseconds.
    pub(crate) restart_delay: Option<u64>,
    /// Nanoseconds.
    pub(crate) restart_window: Option<u64>,
    pub(crate) limit_cpus: Option<Spanned<u64>>,
    pub(crate) limit_memory: Option<Spanned<u64>>,
    pub(crate) limit_pids: Option<Spanned<i64>>,
    pub(crate) reserved_memory: Option<Spanned<u64>>,
}

/// An entry of `pre_start`.
#[derive(Debug, Clone)]
pub(crate) struct Step {
    pub(crate) span: Span,
    pub(crate) hook: Hook,
    pub(crate) image: Option<String>,
}

/// An entry of `env_file`.
#[derive(Debug, Clone)]
pub(crate) struct EnvFile {
    pub(crate) path: Spanned<PathBuf>,
    pub(crate) required: bool,
    pub(crate) raw: bool,
}

/// `healthcheck`. Durations are in nanoseconds.
#[derive(Debug, Clone, Default)]
pub(crate) struct Healthcheck {
    pub(crate) test: Option<Vec<String>>,
    pub(crate) disable: bool,
    pub(crate) interval: Option<u64>,
    pub(crate) timeout: Option<u64>,
    pub(crate) retries: Option<u32>,
    pub(crate) start_period: Option<u64>,
    pub(crate) start_interval: Option<u64>,
}

/// Another container of the project.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Peer {
    /// The first one of a service.
    Service(String),
    /// The one of this name.
    Container(String),
}

impl std::fmt::Display for Peer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Service(name) => write!(f, "service:{name}"),
            Self::Container(name) => write!(f, "container:{name}"),
        }
    }
}

/// `network_mode`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum NetworkSource {
    Host,
    None,
    Bridge,
    Of(Peer),
}

impl NetworkSource {
    pub(crate) fn peer(&self) -> Option<&Peer> {
        match self {
            Self::Of(peer) => Some(peer),
            Self::Host | Self::None | Self::Bridge => None,
        }
    }
}

/// `pid` and `ipc`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum NamespaceSource {
    /// Its own, which others may share.
    Shareable,
    /// Its own, for itself.
    Private,
    /// Its own, without shared memory.
    Bare,
    Host,
    Of(Peer),
}

impl NamespaceSource {
    pub(crate) fn peer(&self) -> Option<&Peer> {
        match self {
            Self::Of(peer) => Some(peer),
            Self::Shareable | Self::Private | Self::Bare | Self::Host => None,
        }
    }
}

/// An entry of `links`.
#[derive(Debug, Clone)]
pub(crate) struct Link {
    pub(crate) service: String,
    pub(crate) alias: String,
}

/// An entry of a service's `networks`.
#[derive(Debug, Clone, Default)]
pub(crate) struct Attachment {
    pub(crate) span: Span,
    pub(crate) aliases: Vec<String>,
    pub(crate) ipv4_address: Option<Spanned<Ipv4Addr>>,
    pub(crate) ipv6_address: Option<Spanned<Ipv6Addr>>,
    pub(crate) mac_address: Option<[u8; 6]>,
    pub(crate) gw_priority: i64,
    pub(crate) interface_name: Option<String>,
    pub(crate) link_local: Vec<Ipv4Addr>,
    pub(crate) priority: i64,
}

/// An entry of `ports`.
#[derive(Debug, Clone)]
pub(crate) struct Port {
    pub(crate) span: Span,
    pub(crate) target: u16,
    pub(crate) published: HostPort,
    pub(crate) host_ip: Option<IpAddr>,
    pub(crate) protocol: Protocol,
}

/// An entry of `secrets` or `configs`.
#[derive(Debug, Clone)]
pub(crate) struct FileReference {
    pub(crate) span: Span,
    pub(crate) kind: FileKind,
    pub(crate) source: String,
    pub(crate) target: Option<String>,
    pub(crate) uid: Option<u32>,
    pub(crate) gid: Option<u32>,
    pub(crate) mode: Option<u32>,
}

/// An entry of `tmpfs`.
#[derive(Debug, Clone)]
pub(crate) struct Tmpfs {
    pub(crate) span: Span,
    pub(crate) target: String,
    pub(crate) size: Option<u64>,
    pub(crate) mode: Option<u32>,
    pub(crate) read_only: bool,
}

/// An entry of `volumes`.
#[derive(Debug, Clone)]
pub(crate) struct VolumeMount {
    pub(crate) span: Span,
    pub(crate) target: String,
    pub(crate) read_only: bool,
    pub(crate) source: VolumeSource,
}

/// An entry of `volumes_from`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct VolumesFrom {
    pub(crate) peer: Peer,
    pub(crate) read_only: bool,
}

/// What an entry of `volumes` shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum VolumeSource {
    Named { key: Spanned<String>, no_copy: bool, subpath: Option<String> },
    Anonymous,
    Bind { path: PathBuf, create: Option<bool>, propagation: Option<String>, below: model::Below },
    Tmpfs { size: Option<u64>, mode: Option<u32> },
    Image { image: String, path: Option<String> },
}

impl VolumeMount {
    /// The top-level volume it names.
    pub(crate) fn volume_key(&self) -> Option<&str> {
        match &self.source {
            VolumeSource::Named { key, .. } => Some(&key.value),
            VolumeSource::Anonymous
            | VolumeSource::Bind { .. }
            | VolumeSource::Tmpfs { .. }
            | VolumeSource::Image { .. } => None,
        }
    }
}
