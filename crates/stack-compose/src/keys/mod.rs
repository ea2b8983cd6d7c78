//! One file for each key of a service. Each says what it may be, how two files merge, what it means, and what it lowers
//! to.

pub(crate) mod forms;
mod hook;
mod key;

mod annotations;
mod attach;
mod blkio_config;
mod build;
mod cap_add;
mod cap_drop;
mod cgroup;
mod cgroup_parent;
mod command;
mod configs;
mod container_name;
mod cpu_count;
mod cpu_percent;
mod cpu_period;
mod cpu_quota;
mod cpu_rt_period;
mod cpu_rt_runtime;
mod cpu_shares;
mod cpus;
mod cpuset;
mod credential_spec;
mod depends_on;
mod deploy;
mod develop;
mod device_cgroup_rules;
mod devices;
mod dns;
mod dns_opt;
mod dns_search;
mod domainname;
mod entrypoint;
mod env_file;
mod environment;
mod expose;
mod extends;
mod external_links;
mod extra_hosts;
mod gpus;
mod group_add;
mod healthcheck;
mod hostname;
mod image;
mod init;
mod ipc;
mod isolation;
mod label_file;
mod labels;
mod links;
mod logging;
mod mac_address;
mod mem_limit;
mod mem_reservation;
mod mem_swappiness;
mod memswap_limit;
mod models;
mod network_mode;
mod networks;
mod oom_kill_disable;
mod oom_score_adj;
mod peer;
mod pid;
mod pids_limit;
mod platform;
mod ports;
mod post_start;
mod pre_start;
mod pre_stop;
mod privileged;
mod profiles;
mod provider;
mod pull_policy;
mod pull_refresh_after;
mod read_only;
mod restart;
mod runtime;
mod scale;
mod secrets;
mod security_opt;
mod shm_size;
mod stdin_open;
mod stop_grace_period;
mod stop_signal;
mod storage_opt;
mod sysctls;
mod tmpfs;
mod tty;
mod ulimits;
mod use_api_socket;
mod user;
mod userns_mode;
mod uts;
mod volumes;
mod volumes_from;
mod working_dir;

pub(crate) use env_file::{report_mistakes, resolve as resolve_env_files};
pub(crate) use forms::{file_name_key, labels_of};
pub(crate) use key::{Lowering, ServiceKey};
pub(crate) use label_file::resolve as resolve_label_files;
pub(crate) use network_mode::BRIDGE;
pub(crate) use networks::interface_name;
pub(crate) use security_opt::resolve as resolve_seccomp;
pub(crate) use volumes::tidy;

use crate::shape::{Field, Object, Shape};

/// Every key of a service, sorted.
pub(crate) const SERVICE_KEYS: &[ServiceKey] = &[
    annotations::KEY,
    attach::KEY,
    blkio_config::KEY,
    build::KEY,
    cap_add::KEY,
    cap_drop::KEY,
    cgroup::KEY,
    cgroup_parent::KEY,
    command::KEY,
    configs::KEY,
    container_name::KEY,
    cpu_count::KEY,
    cpu_percent::KEY,
    cpu_period::KEY,
    cpu_quota::KEY,
    cpu_rt_period::KEY,
    cpu_rt_runtime::KEY,
    cpu_shares::KEY,
    cpus::KEY,
    cpuset::KEY,
    credential_spec::KEY,
    depends_on::KEY,
    deploy::KEY,
    develop::KEY,
    device_cgroup_rules::KEY,
    devices::KEY,
    dns::KEY,
    dns_opt::KEY,
    dns_search::KEY,
    domainname::KEY,
    entrypoint::KEY,
    env_file::KEY,
    environment::KEY,
    expose::KEY,
    extends::KEY,
    external_links::KEY,
    extra_hosts::KEY,
    gpus::KEY,
    group_add::KEY,
    healthcheck::KEY,
    hostname::KEY,
    image::KEY,
    init::KEY,
    ipc::KEY,
    isolation::KEY,
    label_file::KEY,
    labels::KEY,
    links::KEY,
    logging::KEY,
    mac_address::KEY,
    mem_limit::KEY,
    mem_reservation::KEY,
    mem_swappiness::KEY,
    memswap_limit::KEY,
    models::KEY,
    network_mode::KEY,
    networks::KEY,
    oom_kill_disable::KEY,
    oom_score_adj::KEY,
    pid::KEY,
    pids_limit::KEY,
    platform::KEY,
    ports::KEY,
    post_start::KEY,
    pre_start::KEY,
    pre_stop::KEY,
    privileged::KEY,
    profiles::KEY,
    provider::KEY,
    pull_policy::KEY,
    pull_refresh_after::KEY,
    read_only::KEY,
    restart::KEY,
    runtime::KEY,
    scale::KEY,
    secrets::KEY,
    security_opt::KEY,
    shm_size::KEY,
    stdin_open::KEY,
    stop_grace_period::KEY,
    stop_signal::KEY,
    storage_opt::KEY,
    sysctls::KEY,
    tmpfs::KEY,
    tty::KEY,
    ulimits::KEY,
    use_api_socket::KEY,
    user::KEY,
    userns_mode::KEY,
    uts::KEY,
    volumes::KEY,
    volumes_from::KEY,
    working_dir::KEY,
];

/// A service.
pub(crate) const SERVICE: Shape = Shape::Object(&Object::new(&FIELDS));

const FIELDS: [Field; SERVICE_KEYS.len()] = {
    let mut fields = [SERVICE_KEYS[0].field; SERVICE_KEYS.len()];
    let mut index = 0;
    while index < fields.len() {
        fields[index] = SERVICE_KEYS[index].field;
        index += 1;
    }
    fields
};

/// The key of that name.
pub(crate) fn service_key(name: &str) -> Option<&'static ServiceKey> {
    SERVICE_KEYS.binary_search_by(|key| key.field.name.cmp(name)).ok().map(|index| &SERVICE_KEYS[index])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_of_the_specification_has_a_file() {
        let names: Vec<&str> = SERVICE_KEYS.iter().map(|key| key.field.name).collect();
        assert!(names.is_sorted());
        // The properties of a service in compose-spec.json.
        assert_eq!(names.len(), 93);
    }
}
