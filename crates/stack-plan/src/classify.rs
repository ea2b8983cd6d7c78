//! What a change of each field costs. Every structure is taken apart without `..`: a new field does not compile until
//! someone decides its class here.

use std::net::Ipv4Addr;

use stack_model::{Attachment, ContainerSpec, Dns, Effect, FileKind, Limits, Namespaces, NetworkMode};

use crate::words;

/// A field whose value differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The file's key, down to the leaf where there is one: `environment.DEBUG`.
    pub field: String,
    /// What changing it costs.
    pub effect: Effect,
    /// Value before.
    pub old: String,
    /// Value now.
    pub new: String,
}

/// All fields in which two specifications differ in meaning, in the order of the structure.
pub fn compare(old: &ContainerSpec, new: &ContainerSpec) -> Vec<Change> {
    if old == new {
        return Vec::new();
    }
    fields_that_are_compared(old);
    let mut changes = Vec::new();
    compare_process(old, new, &mut changes);
    compare_surroundings(old, new, &mut changes);
    changes
}

/// The change that costs most; the first of several equal ones.
pub fn most_severe(changes: &[Change]) -> Option<&Change> {
    changes.iter().reduce(|worst, change| if change.effect > worst.effect { change } else { worst })
}

/// Notes a change if there is one.
fn note(changes: &mut Vec<Change>, field: &str, effect: Effect, values: [String; 2]) {
    let [old, new] = values;
    changes.push(Change { field: field.to_owned(), effect, old, new });
}

/// Every field is compared below. This does nothing; a field that is not named here does not compile.
fn fields_that_are_compared(spec: &ContainerSpec) {
    let ContainerSpec {
        image: _,
        pull_policy: _,
        container_name: _,
        command: _,
        entrypoint: _,
        environment: _,
        working_dir: _,
        user: _,
        hostname: _,
        domainname: _,
        extra_hosts: _,
        dns: _,
        group_add: _,
        ulimits: _,
        sysctls: _,
        shm_size: _,
        oom_score_adj: _,
        security: _,
        namespaces: _,
        devices: _,
        device_cgroup_rules: _,
        init: _,
        tty: _,
        stdin_open: _,
        read_only: _,
        privileged: _,
        cap_add: _,
        cap_drop: _,
        limits: _,
        mounts: _,
        files: _,
        volumes_from: _,
        network: _,
        links: _,
        ports: _,
        logging: _,
        labels: _,
        restart: _,
        restart_delay: _,
        restart_window: _,
        stop_signal: _,
        stop_grace: _,
        post_start: _,
        pre_stop: _,
        healthcheck: _,
    } = spec;
}

fn compare_process(old: &ContainerSpec, new: &ContainerSpec, changes: &mut Vec<Change>) {
    if old.image != new.image {
        note(changes, "image", Effect::Replace, [words::short(old.image.as_str()), words::short(new.image.as_str())]);
    }
    if old.pull_policy != new.pull_policy {
        let values = [words::pull_policy(old.pull_policy), words::pull_policy(new.pull_policy)];
        note(changes, "pull_policy", Effect::Live, values);
    }
    let texts = [
        ("container_name", &old.container_name, &new.container_name),
        ("working_dir", &old.working_dir, &new.working_dir),
        ("user", &old.user, &new.user),
        ("hostname", &old.hostname, &new.hostname),
        ("domainname", &old.domainname, &new.domainname),
    ];
    for (field, old, new) in texts.into_iter().filter(|(_, old, new)| old != new) {
        note(changes, field, Effect::Replace, [words::optional(old.as_ref()), words::optional(new.as_ref())]);
    }
    for (field, old, new) in [("command", &old.command, &new.command), ("entrypoint", &old.entrypoint, &new.entrypoint)]
    {
        if old != new {
            note(changes, field, Effect::Replace, [words::arguments(old.as_ref()), words::arguments(new.as_ref())]);
        }
    }
    let names =
        old.environment.keys().chain(new.environment.keys().filter(|name| !old.environment.contains_key(*name)));
    for name in names {
        let (before, after) = (old.environment.get(name), new.environment.get(name));
        if before != after {
            let values = [words::variable(name, before), words::variable(name, after)];
            note(changes, &format!("environment.{name}"), Effect::Replace, values);
        }
    }
    let switches = [
        ("init", old.init, new.init),
        ("tty", old.tty, new.tty),
        ("stdin_open", old.stdin_open, new.stdin_open),
        ("read_only", old.read_only, new.read_only),
        ("privileged", old.privileged, new.privileged),
    ];
    for (field, old, new) in switches.into_iter().filter(|(_, old, new)| old != new) {
        note(changes, field, Effect::Replace, [old.to_string(), new.to_string()]);
    }
    let sets = [
        ("cap_add", &old.cap_add, &new.cap_add),
        ("cap_drop", &old.cap_drop, &new.cap_drop),
        ("group_add", &old.group_add, &new.group_add),
    ];
    for (field, old, new) in sets {
        if old != new {
            note(changes, field, Effect::Replace, [words::set(old), words::set(new)]);
        }
    }
}

fn compare_surroundings(old: &ContainerSpec, new: &ContainerSpec, changes: &mut Vec<Change>) {
    compare_limits(&old.limits, &new.limits, changes);
    compare_mounts(old, new, changes);
    compare_confinement(old, new, changes);
    compare_names(old, new, changes);
    compare_network(&old.network, &new.network, changes);
    // Which order ports stand in means nothing.
    let sorted = |spec: &ContainerSpec| {
        let mut ports = spec.ports.clone();
        ports.sort();
        ports.dedup();
        ports
    };
    if old.ports != new.ports && sorted(old) != sorted(new) {
        note(changes, "ports", Effect::Live, [words::ports(&old.ports), words::ports(&new.ports)]);
    }
    let keys = old.labels.keys().chain(new.labels.keys().filter(|key| !old.labels.contains_key(*key)));
    for key in keys {
        if old.labels.get(key) != new.labels.get(key) {
            let values = [words::entry(&old.labels, key), words::entry(&new.labels, key)];
            note(changes, &format!("labels.{key}"), Effect::Live, values);
        }
    }
    if old.restart != new.restart {
        note(changes, "restart", Effect::Live, [words::restart(old.restart), words::restart(new.restart)]);
    }
    let times = [
        ("deploy.restart_policy.delay", old.restart_delay, new.restart_delay),
        ("deploy.restart_policy.window", old.restart_window, new.restart_window),
    ];
    for (field, old, new) in times.into_iter().filter(|(_, old, new)| old != new) {
        note(changes, field, Effect::Live, [words::optional(old.as_ref()), words::optional(new.as_ref())]);
    }
    if old.stop_signal != new.stop_signal {
        let values = [words::optional(old.stop_signal.as_ref()), words::optional(new.stop_signal.as_ref())];
        note(changes, "stop_signal", Effect::Live, values);
    }
    if old.stop_grace != new.stop_grace {
        note(changes, "stop_grace_period", Effect::Live, [old.stop_grace.to_string(), new.stop_grace.to_string()]);
    }
    for (field, old, new) in
        [("post_start", &old.post_start, &new.post_start), ("pre_stop", &old.pre_stop, &new.pre_stop)]
    {
        if old != new {
            note(changes, field, Effect::Live, [words::hooks(old), words::hooks(new)]);
        }
    }
    if old.healthcheck != new.healthcheck {
        let values = [words::healthcheck(old.healthcheck.as_ref()), words::healthcheck(new.healthcheck.as_ref())];
        note(changes, "healthcheck", Effect::Live, values);
    }
}

fn compare_limits(old: &Limits, new: &Limits, changes: &mut Vec<Change>) {
    let Limits {
        memory,
        memory_and_swap,
        memory_reservation,
        cpus,
        pids,
        cpu_shares,
        cpu_period,
        cpu_quota,
        cpuset,
        memory_swappiness,
        oom_kill_disable,
        blkio,
    } = old;
    let bytes = [
        ("mem_limit", memory, &new.memory),
        ("memswap_limit", memory_and_swap, &new.memory_and_swap),
        ("mem_reservation", memory_reservation, &new.memory_reservation),
    ];
    for (field, old, new) in bytes.into_iter().filter(|(_, old, new)| old != new) {
        note(changes, field, Effect::Live, [words::optional(old.as_ref()), words::optional(new.as_ref())]);
    }
    if *cpus != new.cpus {
        note(changes, "cpus", Effect::Live, [words::optional(cpus.as_ref()), words::optional(new.cpus.as_ref())]);
    }
    if *pids != new.pids {
        note(changes, "pids_limit", Effect::Live, [words::optional(pids.as_ref()), words::optional(new.pids.as_ref())]);
    }
    let numbers = [
        ("cpu_shares", cpu_shares, &new.cpu_shares),
        ("cpu_period", cpu_period, &new.cpu_period),
        ("cpu_quota", cpu_quota, &new.cpu_quota),
        ("mem_swappiness", memory_swappiness, &new.memory_swappiness),
    ];
    for (field, old, new) in numbers.into_iter().filter(|(_, old, new)| old != new) {
        note(changes, field, Effect::Live, [words::optional(old.as_ref()), words::optional(new.as_ref())]);
    }
    if *cpuset != new.cpuset {
        let values = [words::optional(cpuset.as_ref()), words::optional(new.cpuset.as_ref())];
        note(changes, "cpuset", Effect::Live, values);
    }
    if *oom_kill_disable != new.oom_kill_disable {
        let values = [oom_kill_disable.to_string(), new.oom_kill_disable.to_string()];
        note(changes, "oom_kill_disable", Effect::Live, values);
    }
    if *blkio != new.blkio {
        note(changes, "blkio_config", Effect::Live, [words::blkio(blkio), words::blkio(&new.blkio)]);
    }
}

/// What the kernel is told about the process and its namespaces when it begins.
fn compare_confinement(old: &ContainerSpec, new: &ContainerSpec, changes: &mut Vec<Change>) {
    let names = old.ulimits.keys().chain(new.ulimits.keys().filter(|name| !old.ulimits.contains_key(*name)));
    for name in names {
        let (before, after) = (old.ulimits.get(name), new.ulimits.get(name));
        if before != after {
            note(changes, &format!("ulimits.{name}"), Effect::Replace, [words::ulimit(before), words::ulimit(after)]);
        }
    }
    let names = old.sysctls.keys().chain(new.sysctls.keys().filter(|name| !old.sysctls.contains_key(*name)));
    for name in names {
        if old.sysctls.get(name) != new.sysctls.get(name) {
            let values = [words::entry(&old.sysctls, name), words::entry(&new.sysctls, name)];
            note(changes, &format!("sysctls.{name}"), Effect::Replace, values);
        }
    }
    if old.shm_size != new.shm_size {
        let values = [words::optional(old.shm_size.as_ref()), words::optional(new.shm_size.as_ref())];
        note(changes, "shm_size", Effect::Replace, values);
    }
    if old.oom_score_adj != new.oom_score_adj {
        let values = [old.oom_score_adj.to_string(), new.oom_score_adj.to_string()];
        note(changes, "oom_score_adj", Effect::Replace, values);
    }
    if old.security != new.security {
        note(
            changes,
            "security_opt",
            Effect::Replace,
            [words::security(&old.security), words::security(&new.security)],
        );
    }
    for ((field, old), (_, new)) in namespaces(&old.namespaces).into_iter().zip(namespaces(&new.namespaces)) {
        if old != new {
            note(changes, field, Effect::Replace, [old, new]);
        }
    }
    if old.logging != new.logging {
        let values = [words::optional(old.logging.most.as_ref()), words::optional(new.logging.most.as_ref())];
        note(changes, "logging", Effect::Replace, values);
    }
    if old.devices != new.devices {
        note(changes, "devices", Effect::Replace, [words::devices(&old.devices), words::devices(&new.devices)]);
    }
    if old.device_cgroup_rules != new.device_cgroup_rules {
        let values = [words::list(&old.device_cgroup_rules), words::list(&new.device_cgroup_rules)];
        note(changes, "device_cgroup_rules", Effect::Replace, values);
    }
}

/// Each namespace as the file writes it.
fn namespaces(all: &Namespaces) -> [(&'static str, String); 4] {
    let Namespaces { pid, ipc, without_shm, uts, cgroup } = all;
    let host = |is_host: bool| if is_host { "host" } else { "private" }.to_owned();
    let ipc = if *without_shm { "none".to_owned() } else { words::namespace(ipc) };
    [("pid", words::namespace(pid)), ("ipc", ipc), ("uts", host(*uts)), ("cgroup", host(*cgroup))]
}

/// What stands in `/etc/hosts` and `/etc/resolv.conf`. Programs read both once.
fn compare_names(old: &ContainerSpec, new: &ContainerSpec, changes: &mut Vec<Change>) {
    if old.extra_hosts != new.extra_hosts {
        let values = [words::extra_hosts(&old.extra_hosts), words::extra_hosts(&new.extra_hosts)];
        note(changes, "extra_hosts", Effect::Replace, values);
    }
    if old.links != new.links {
        note(changes, "links", Effect::Live, [words::links(&old.links), words::links(&new.links)]);
    }
    let Dns { servers, search, options } = &old.dns;
    let printed = |servers: &[std::net::IpAddr]| servers.iter().map(ToString::to_string).collect::<Vec<_>>();
    let lists = [
        ("dns", printed(servers), printed(&new.dns.servers)),
        ("dns_search", search.clone(), new.dns.search.clone()),
        ("dns_opt", options.clone(), new.dns.options.clone()),
    ];
    for (field, old, new) in lists.into_iter().filter(|(_, old, new)| old != new) {
        note(changes, field, Effect::Replace, [words::list(&old), words::list(&new)]);
    }
}

fn compare_mounts(old: &ContainerSpec, new: &ContainerSpec, changes: &mut Vec<Change>) {
    if old.mounts != new.mounts {
        // Targets are unique and parents are mounted first, so the file's order means nothing.
        let by_target = |spec: &ContainerSpec| {
            let mut mounts = spec.mounts.clone();
            mounts.sort_by(|a, b| a.target.cmp(&b.target));
            mounts
        };
        if by_target(old) != by_target(new) {
            note(changes, "volumes", Effect::Replace, [words::mounts(&old.mounts), words::mounts(&new.mounts)]);
        }
    }
    if old.volumes_from != new.volumes_from {
        let values = [words::volumes_from(&old.volumes_from), words::volumes_from(&new.volumes_from)];
        note(changes, "volumes_from", Effect::Replace, values);
    }
    for (field, kind) in [("secrets", FileKind::Secret), ("configs", FileKind::Config)] {
        let of_kind = |spec: &ContainerSpec| {
            let mut files: Vec<_> = spec.files.iter().filter(|file| file.kind == kind).cloned().collect();
            files.sort_by(|a, b| a.target.cmp(&b.target));
            files
        };
        let (before, after) = (of_kind(old), of_kind(new));
        if before != after {
            note(changes, field, Effect::Replace, [words::files(&before), words::files(&after)]);
        }
    }
}

fn compare_network(old: &NetworkMode, new: &NetworkMode, changes: &mut Vec<Change>) {
    let (NetworkMode::Attached(before), NetworkMode::Attached(after)) = (old, new) else {
        if old != new {
            note(changes, "network_mode", Effect::Replace, [words::network(old), words::network(new)]);
        }
        return;
    };
    if !before.keys().eq(after.keys()) {
        note(changes, "networks", Effect::Replace, [words::network(old), words::network(new)]);
    }
    for (name, attachment) in before {
        let Some(other) = after.get(name) else { continue };
        let Attachment { aliases, ipv4, mac, gateway_priority, interface, priority, link_local, ipv6 } = attachment;
        if *ipv4 != other.ipv4 {
            let values = [words::optional(ipv4.as_ref()), words::optional(other.ipv4.as_ref())];
            note(changes, &format!("networks.{name}.ipv4_address"), Effect::Replace, values);
        }
        if *ipv6 != other.ipv6 {
            let values = [words::optional(ipv6.as_ref()), words::optional(other.ipv6.as_ref())];
            note(changes, &format!("networks.{name}.ipv6_address"), Effect::Replace, values);
        }
        if *mac != other.mac {
            let values = [words::mac(*mac), words::mac(other.mac)];
            note(changes, &format!("networks.{name}.mac_address"), Effect::Replace, values);
        }
        if *priority != other.priority {
            let values = [priority.to_string(), other.priority.to_string()];
            note(changes, &format!("networks.{name}.priority"), Effect::Replace, values);
        }
        if *link_local != other.link_local {
            let printed = |list: &[Ipv4Addr]| words::list(&list.iter().map(ToString::to_string).collect::<Vec<_>>());
            let values = [printed(link_local), printed(&other.link_local)];
            note(changes, &format!("networks.{name}.link_local_ips"), Effect::Replace, values);
        }
        if *gateway_priority != other.gateway_priority {
            let values = [gateway_priority.to_string(), other.gateway_priority.to_string()];
            note(changes, &format!("networks.{name}.gw_priority"), Effect::Replace, values);
        }
        if *interface != other.interface {
            let values = [words::optional(interface.as_ref()), words::optional(other.interface.as_ref())];
            note(changes, &format!("networks.{name}.interface_name"), Effect::Replace, values);
        }
        if *aliases != other.aliases {
            let values = [words::set(aliases), words::set(&other.aliases)];
            note(changes, &format!("networks.{name}.aliases"), Effect::Live, values);
        }
    }
}
