//! One file for each key of a service. Each says how its short forms become the long one, how two files merge, what it
//! means, how `stack config` shows it, and what it lowers to.

mod forms;
mod key;

mod cap_add;
mod cap_drop;
mod command;
mod configs;
mod container_name;
mod cpus;
mod depends_on;
mod deploy;
mod entrypoint;
mod env_file;
mod environment;
mod healthcheck;
mod hostname;
mod image;
mod init;
mod labels;
mod mem_limit;
mod mem_reservation;
mod memswap_limit;
mod network_mode;
mod networks;
mod pids_limit;
mod ports;
mod privileged;
mod profiles;
mod pull_policy;
mod read_only;
mod restart;
mod scale;
mod secrets;
mod stdin_open;
mod stop_grace_period;
mod stop_signal;
mod tmpfs;
mod tty;
mod user;
mod volumes;
mod working_dir;

pub(crate) use env_file::{report_mistakes, resolve as resolve_env_files};
pub(crate) use forms::{file_name_key, key_values, labels_of};
pub(crate) use key::{Lowering, Merge, ServiceKey};

/// Every key of a service that is read.
pub(crate) const SERVICE_KEYS: &[ServiceKey] = &[
    cap_add::KEY,
    cap_drop::KEY,
    command::KEY,
    configs::KEY,
    container_name::KEY,
    cpus::KEY,
    depends_on::KEY,
    deploy::KEY,
    entrypoint::KEY,
    env_file::KEY,
    environment::KEY,
    healthcheck::KEY,
    hostname::KEY,
    image::KEY,
    init::KEY,
    labels::KEY,
    mem_limit::KEY,
    mem_reservation::KEY,
    memswap_limit::KEY,
    network_mode::KEY,
    networks::KEY,
    pids_limit::KEY,
    ports::KEY,
    privileged::KEY,
    profiles::KEY,
    pull_policy::KEY,
    read_only::KEY,
    restart::KEY,
    scale::KEY,
    secrets::KEY,
    stdin_open::KEY,
    stop_grace_period::KEY,
    stop_signal::KEY,
    tmpfs::KEY,
    tty::KEY,
    user::KEY,
    volumes::KEY,
    working_dir::KEY,
];

/// Every other key that the Compose specification gives a service: an error until its file exists.
pub(crate) const SERVICE_KEYS_NOT_YET: &[&str] = &[
    "annotations",
    "attach",
    "blkio_config",
    "build",
    "cgroup",
    "cgroup_parent",
    "cpu_count",
    "cpu_percent",
    "cpu_period",
    "cpu_quota",
    "cpu_rt_period",
    "cpu_rt_runtime",
    "cpu_shares",
    "cpuset",
    "credential_spec",
    "develop",
    "device_cgroup_rules",
    "devices",
    "dns",
    "dns_opt",
    "dns_search",
    "domainname",
    "expose",
    "extends",
    "external_links",
    "extra_hosts",
    "gpus",
    "group_add",
    "ipc",
    "isolation",
    "label_file",
    "links",
    "logging",
    "mac_address",
    "mem_swappiness",
    "models",
    "oom_kill_disable",
    "oom_score_adj",
    "pid",
    "platform",
    "post_start",
    "pre_start",
    "pre_stop",
    "provider",
    "pull_refresh_after",
    "runtime",
    "security_opt",
    "shm_size",
    "storage_opt",
    "sysctls",
    "ulimits",
    "use_api_socket",
    "userns_mode",
    "uts",
    "volumes_from",
];

/// The key of that name.
pub(crate) fn service_key(name: &str) -> Option<&'static ServiceKey> {
    SERVICE_KEYS.iter().find(|key| key.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_of_the_specification_stands_in_exactly_one_list() {
        let mut names: Vec<&str> = SERVICE_KEYS.iter().map(|key| key.name).collect();
        assert!(names.is_sorted());
        assert!(SERVICE_KEYS_NOT_YET.is_sorted());
        names.extend(SERVICE_KEYS_NOT_YET);
        names.sort_unstable();
        let count = names.len();
        names.dedup();
        assert_eq!(names.len(), count);
        // The properties of a service in compose-spec.json.
        assert_eq!(count, 93);
    }
}
