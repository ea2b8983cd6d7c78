//! Values in the words of the file, short enough for a plan line.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;

use stack_model::{
    Below, Blkio, Device, ExtraHost, FileMount, Healthcheck, Hook, HostAddress, HostPort, Mount, MountSource,
    Namespace, NetworkMode, PortSpec, Probe, Protocol, PullPolicy, RestartPolicy, Seccomp, Security, ServiceName,
    Ulimit, VolumesFrom, short_hex,
};

/// Longest value in a plan line, in characters.
const LONGEST: usize = 48;

/// Parts of a variable's name that make its value a secret.
const SECRET_WORDS: [&str; 5] = ["PASSWORD", "PASSWD", "SECRET", "TOKEN", "KEY"];

/// Cuts a long text and shows that it was cut.
pub(crate) fn short(text: &str) -> String {
    if text.chars().count() <= LONGEST {
        return text.to_owned();
    }
    text.chars().take(LONGEST - 1).chain(std::iter::once('…')).collect()
}

/// A value or `none`.
pub(crate) fn optional<T: Display>(value: Option<&T>) -> String {
    value.map_or_else(|| "none".to_owned(), |value| short(&value.to_string()))
}

/// Program arguments as a list.
pub(crate) fn arguments(list: Option<&Vec<String>>) -> String {
    list.map_or_else(|| "none".to_owned(), |list| short(&format!("{list:?}")))
}

/// The value of a variable. Plans are printed and logged, so what looks like a secret is not shown.
pub(crate) fn variable(name: &str, value: Option<&Option<String>>) -> String {
    let upper = name.to_ascii_uppercase();
    match value {
        None => "none".to_owned(),
        Some(None) => "unset".to_owned(),
        Some(Some(_)) if SECRET_WORDS.iter().any(|word| upper.contains(word)) => "***".to_owned(),
        Some(Some(value)) if value.is_empty() => "\"\"".to_owned(),
        Some(Some(value)) => short(value),
    }
}

/// A set as a list.
pub(crate) fn set(values: &BTreeSet<String>) -> String {
    let list: Vec<&str> = values.iter().map(String::as_str).collect();
    short(&format!("[{}]", list.join(", ")))
}

/// Texts as a list.
pub(crate) fn list(values: &[String]) -> String {
    if values.is_empty() { "none".to_owned() } else { short(&format!("[{}]", values.join(", "))) }
}

/// Hooks as their command lines; their variables may be secret.
pub(crate) fn hooks(hooks: &[Hook]) -> String {
    list(&hooks.iter().map(|hook| hook.command.join(" ")).collect::<Vec<_>>())
}

/// Services whose volumes are shared, as the file writes them.
pub(crate) fn volumes_from(list_of: &[VolumesFrom]) -> String {
    let words = list_of.iter().map(|from| format!("{}{}", from.service, if from.read_only { ":ro" } else { "" }));
    list(&words.collect::<Vec<_>>())
}

/// A limit of getrlimit(2): `soft:hard` where they differ.
pub(crate) fn ulimit(limit: Option<&Ulimit>) -> String {
    match limit {
        None => "none".to_owned(),
        Some(Ulimit { soft, hard }) if soft == hard => soft.to_string(),
        Some(Ulimit { soft, hard }) => format!("{soft}:{hard}"),
    }
}

/// Security options as the file writes them; of a profile, the hash of its text.
pub(crate) fn security(security: &Security) -> String {
    let Security { seccomp, no_new_privileges, unmask } = security;
    let seccomp = match seccomp {
        Seccomp::Standard => None,
        Seccomp::Unconfined => Some("seccomp=unconfined".to_owned()),
        Seccomp::Profile(text) => Some(format!("seccomp={}", short_hex(&[text], 8))),
    };
    let words = [no_new_privileges.then(|| "no-new-privileges".to_owned()), seccomp];
    let unmask = unmask.then(|| "systempaths=unconfined".to_owned());
    list(&words.into_iter().chain([unmask]).flatten().collect::<Vec<_>>())
}

/// Devices in the short form.
pub(crate) fn devices(devices: &[Device]) -> String {
    let word = |Device { source, target, permissions }: &Device| {
        let source = source.display().to_string();
        match (source == *target, permissions == "rwm") {
            (true, true) => source,
            (false, true) => format!("{source}:{target}"),
            (_, false) => format!("{source}:{target}:{permissions}"),
        }
    };
    list(&devices.iter().map(word).collect::<Vec<_>>())
}

/// Further hosts as the file writes them.
pub(crate) fn extra_hosts(hosts: &[ExtraHost]) -> String {
    let word = |host: &ExtraHost| match host.address {
        HostAddress::Ip(address) => format!("{}={address}", host.name),
        HostAddress::Gateway => format!("{}=host-gateway", host.name),
    };
    list(&hosts.iter().map(word).collect::<Vec<_>>())
}

/// Names of services as the file writes them.
pub(crate) fn links(links: &BTreeMap<String, ServiceName>) -> String {
    list(&links.iter().map(|(alias, service)| format!("{service}:{alias}")).collect::<Vec<_>>())
}

/// A hardware address.
pub(crate) fn mac(address: Option<[u8; 6]>) -> String {
    let text = |address: [u8; 6]| address.map(|byte| format!("{byte:02x}")).join(":");
    address.map_or_else(|| "none".to_owned(), text)
}

/// What is said about block devices.
pub(crate) fn blkio(blkio: &Blkio) -> String {
    let Blkio { weight, weight_device, read_bps, write_bps, read_iops, write_iops } = blkio;
    let mut words: Vec<String> = weight.iter().map(|weight| format!("weight {weight}")).collect();
    words.extend(weight_device.iter().map(|(path, weight)| format!("{} weight {weight}", path.display())));
    let rates =
        [("read_bps", read_bps), ("write_bps", write_bps), ("read_iops", read_iops), ("write_iops", write_iops)];
    for (name, table) in rates {
        words.extend(table.iter().map(|(path, rate)| format!("{} {name} {rate}", path.display())));
    }
    list(&words)
}

/// Published ports in the short form.
pub(crate) fn ports(list: &[PortSpec]) -> String {
    let mut list: Vec<String> = list.iter().map(port).collect();
    list.sort();
    short(&format!("[{}]", list.join(", ")))
}

/// One published port in the short form: `127.0.0.1:8080:80/udp`.
pub(crate) fn port(port: &PortSpec) -> String {
    let address = port.host_ip.map_or_else(String::new, |ip| format!("{ip}:"));
    let host = match port.published {
        HostPort::Any => String::new(),
        HostPort::Range(first, last) if first == last => format!("{first}:"),
        HostPort::Range(first, last) => format!("{first}-{last}:"),
    };
    format!("{address}{host}{}{}", port.target, protocol_suffix(port.protocol))
}

/// `/udp` where it is not TCP.
pub(crate) fn protocol_suffix(protocol: Protocol) -> String {
    if protocol == Protocol::Tcp { String::new() } else { format!("/{protocol}") }
}

/// Mounts in the short form.
pub(crate) fn mounts(list: &[Mount]) -> String {
    let list: Vec<String> = list.iter().map(mount).collect();
    short(&format!("[{}]", list.join(", ")))
}

fn mount(mount: &Mount) -> String {
    let source = match &mount.source {
        MountSource::Volume { name, .. } => format!("{name}:"),
        MountSource::Subpath { name, path } => format!("{name}/{path}:"),
        MountSource::Mounted { source, options, .. } => format!("{source}({}):", options.join(",")),
        MountSource::Anonymous => String::new(),
        MountSource::Bind { path, below, .. } => {
            let below = match below {
                Below::Seen => "",
                Below::Hidden => "(without the mounts below)",
                Below::Writable => "(writable below)",
            };
            format!("{}{below}:", path.display())
        }
        MountSource::Image { image, path: None } => format!("image {image}:"),
        MountSource::Image { image, path: Some(path) } => format!("image {image}/{path}:"),
        MountSource::Tmpfs { .. } => "tmpfs:".to_owned(),
    };
    format!("{source}{}{}", mount.target, if mount.read_only { ":ro" } else { "" })
}

/// Secrets and configs: target and the hash of the content.
pub(crate) fn files(list: &[FileMount]) -> String {
    let list: Vec<String> = list.iter().map(|file| format!("{}@{}", file.target, file.content)).collect();
    short(&format!("[{}]", list.join(", ")))
}

/// Whose a namespace is.
pub(crate) fn namespace(whose: &Namespace) -> String {
    match whose {
        Namespace::Own => "private".to_owned(),
        Namespace::Host => "host".to_owned(),
        Namespace::Service(name) => format!("service:{name}"),
    }
}

/// Networks by name.
pub(crate) fn network(mode: &NetworkMode) -> String {
    match mode {
        NetworkMode::None => "none".to_owned(),
        NetworkMode::Host => "host".to_owned(),
        NetworkMode::Service(name) => format!("service:{name}"),
        NetworkMode::Attached(map) => {
            let list: Vec<&str> = map.keys().map(stack_model::NetworkName::as_str).collect();
            short(&format!("[{}]", list.join(", ")))
        }
    }
}

/// The value of one label.
pub(crate) fn entry(map: &BTreeMap<String, String>, key: &str) -> String {
    map.get(key).map_or_else(|| "none".to_owned(), |value| short(value))
}

/// A restart policy as the file writes it.
pub(crate) fn restart(policy: RestartPolicy) -> String {
    match policy {
        RestartPolicy::No => "no".to_owned(),
        RestartPolicy::Always => "always".to_owned(),
        RestartPolicy::OnFailure(None) => "on-failure".to_owned(),
        RestartPolicy::OnFailure(Some(times)) => format!("on-failure:{times}"),
        RestartPolicy::UnlessStopped => "unless-stopped".to_owned(),
    }
}

/// A pull policy as the file writes it.
pub(crate) fn pull_policy(policy: PullPolicy) -> String {
    match policy {
        PullPolicy::Missing => "missing".to_owned(),
        PullPolicy::Always => "always".to_owned(),
        PullPolicy::Never => "never".to_owned(),
        PullPolicy::Build => "build".to_owned(),
        PullPolicy::Every(period) => format!("every {period}"),
    }
}

/// A health check: its probe and its times.
pub(crate) fn healthcheck(check: Option<&Healthcheck>) -> String {
    let Some(check) = check else { return "none".to_owned() };
    let Healthcheck { probe, interval, timeout, retries, start_period, start_interval } = check;
    let probe = match probe {
        Probe::None => return "disabled".to_owned(),
        Probe::Exec(arguments) => arguments.join(" "),
        Probe::Shell(line) => line.clone(),
    };
    // Times first: the probe may be long and is then cut.
    short(&format!("{interval}/{timeout}/{retries}/{start_period}/{start_interval} {probe}"))
}
