//! Everything outside `services`: the root of a file, networks, volumes, secrets and configs.

use std::path::PathBuf;

use indexmap::IndexMap;
use stack_model::ProjectName;

use crate::context::Cx;
use crate::decode::{Keys, not_yet};
use crate::keys::{file_name_key, key_values, labels_of};
use crate::project::{FileSource, Network, Volume};
use crate::report::{Code, Problem};
use crate::text::{Span, Spanned};
use crate::yaml::{Entry, Kind, Mapping, Node};

/// The root.
pub(crate) const ROOT: Keys = Keys {
    known: &["version", "name", "services", "networks", "volumes", "secrets", "configs"],
    not_yet: &["include", "models"],
    extensions: true,
};
const NETWORK: Keys = Keys {
    known: &["name", "internal", "driver", "ipam", "labels"],
    not_yet: &["attachable", "driver_opts", "enable_ipv4", "enable_ipv6", "external"],
    extensions: true,
};
const IPAM: Keys = Keys { known: &["config"], not_yet: &["driver", "options"], extensions: true };
const IPAM_CONFIG: Keys =
    Keys { known: &["subnet", "gateway"], not_yet: &["aux_addresses", "ip_range"], extensions: true };
const VOLUME: Keys =
    Keys { known: &["name", "driver", "external", "labels"], not_yet: &["driver_opts"], extensions: true };
const FILE: Keys = Keys {
    known: &["name", "file"],
    not_yet: &["content", "driver", "driver_opts", "environment", "external", "labels", "template_driver"],
    extensions: true,
};

/// Short forms of the top level to long ones.
pub(crate) fn canonical(root: &mut Mapping, cx: &mut Cx<'_>) {
    for section in ["networks", "volumes"] {
        let Some(entry) = root.get_mut(section) else { continue };
        let Kind::Mapping(resources) = &mut entry.value.kind else { continue };
        for resource in resources.values_mut() {
            let Kind::Mapping(fields) = &mut resource.value.kind else { continue };
            let Some(labels) = fields.get_mut("labels") else { continue };
            let span = labels.value.span;
            let value = std::mem::replace(&mut labels.value, Node::null(span));
            match key_values(value, "`labels`", cx) {
                Some(value) => labels.value = value,
                None => {
                    fields.shift_remove("labels");
                }
            }
        }
    }
}

/// The entries of a section, with their names checked.
pub(crate) fn section<'n>(root: &'n Mapping, name: &str, cx: &mut Cx<'_>) -> Vec<(&'n str, &'n Entry)> {
    let Some(entry) = root.get(name).filter(|entry| !entry.value.is_null()) else { return Vec::new() };
    let Kind::Mapping(mapping) = &entry.value.kind else {
        cx.wrong_type(&entry.value, &format!("`{name}`"), "a mapping");
        return Vec::new();
    };
    for (key, entry) in mapping {
        // `x-…` below a section is a name like any other; docker compose has it so.
        if !file_name_key(key) {
            let message = format!("`{key}` is not a name for an entry of `{name}`");
            let problem = Problem::error(Code::InvalidName, entry.key, message);
            cx.push(problem.reason("it must match `[a-zA-Z0-9._-]+`"));
        }
    }
    mapping.iter().map(|(key, entry)| (&**key, entry)).collect()
}

/// The top-level `networks`, with the default one.
pub(crate) fn networks(root: &Mapping, project: &ProjectName, cx: &mut Cx<'_>) -> IndexMap<String, Network> {
    let mut networks = IndexMap::new();
    for (key, entry) in section(root, "networks", cx) {
        networks.insert(key.to_owned(), network(key, entry, project, cx));
    }
    let default = || Network { name: format!("{project}_default"), ..Network::default() };
    networks.entry("default".to_owned()).or_insert_with(default);
    networks
}

fn network(key: &str, entry: &Entry, project: &ProjectName, cx: &mut Cx<'_>) -> Network {
    let mut network = Network { span: entry.key, name: format!("{project}_{key}"), ..Network::default() };
    if entry.value.is_null() {
        return network;
    }
    let Some(fields) = cx.object(&entry.value, &format!("network `{key}`"), &NETWORK) else { return network };
    if let Some(name) = real_name(fields, cx) {
        network.name = name;
    }
    network.internal = fields.get("internal").and_then(|entry| cx.boolean(&entry.value, "`internal`"));
    if let Some(driver) = fields.get("driver").and_then(|entry| cx.text(&entry.value, "`driver`")) {
        if driver.value != "bridge" && !driver.value.is_empty() {
            cx.push(not_yet(driver.span, &format!("the network driver `{}`", driver.value)));
        }
        network.driver = Some(driver.value);
    }
    if let Some(labels) = fields.get("labels") {
        network.labels = labels_of(&labels.value, "`labels`", cx);
    }
    if let Some(ipam) = fields.get("ipam").filter(|entry| !entry.value.is_null()) {
        parse_ipam(&ipam.value, &mut network, cx);
    }
    network
}

fn parse_ipam(node: &Node, network: &mut Network, cx: &mut Cx<'_>) {
    let Some(fields) = cx.object(node, "`ipam`", &IPAM) else { return };
    let Some(config) = fields.get("config").filter(|entry| !entry.value.is_null()) else { return };
    let items = cx.list(&config.value, "`config`").unwrap_or_default();
    if let Some(second) = items.get(1) {
        cx.push(not_yet(second.span, "a second subnet of a network"));
    }
    let Some(item) = items.first() else { return };
    let Some(fields) = cx.object(item, "`config`", &IPAM_CONFIG) else { return };
    let mut text = |key: &str| {
        let entry = fields.get(key).filter(|entry| !entry.value.is_null())?;
        cx.text(&entry.value, &format!("`{key}`"))
    };
    let (subnet, gateway) = (text("subnet"), text("gateway"));
    network.subnet = subnet.and_then(|subnet| parse_subnet(&subnet, cx));
    let Some(gateway) = gateway else { return };
    match (gateway.value.parse(), &network.subnet) {
        (Ok(address), Some(subnet)) if subnet.value.contains(&address) => {
            network.gateway = Some(gateway.map(|_| address));
        }
        (Ok(address), Some(subnet)) => {
            let message = format!("the gateway {address} is not in the subnet {}", subnet.value);
            cx.push(Problem::error(Code::InvalidValue, gateway.span, message).also(subnet.span, "the subnet"));
        }
        (Ok(_), None) => {
            cx.push(Problem::error(Code::MissingKey, gateway.span, "a `gateway` needs a `subnet` that it is in"));
        }
        (Err(_), _) => {
            let message = format!("`{}` is not an IPv4 address", gateway.value);
            cx.push(Problem::error(Code::InvalidValue, gateway.span, message));
        }
    }
}

/// Addresses of a network, its gateway and its broadcast address.
const LONGEST_PREFIX: u8 = 29;

fn parse_subnet(subnet: &Spanned<String>, cx: &mut Cx<'_>) -> Option<Spanned<ipnet::Ipv4Net>> {
    if subnet.value.parse::<ipnet::Ipv6Net>().is_ok() {
        cx.push(not_yet(subnet.span, "an IPv6 subnet"));
        return None;
    }
    let problem = match subnet.value.parse::<ipnet::Ipv4Net>() {
        Err(_) => Problem::error(Code::InvalidValue, subnet.span, format!("`{}` is not a subnet", subnet.value))
            .help("write an address and a prefix length: `10.1.0.0/24`"),
        Ok(net) if net.prefix_len() > LONGEST_PREFIX => {
            let message = format!("a subnet of /{} has no room for containers", net.prefix_len());
            Problem::error(Code::InvalidValue, subnet.span, message).help(format!("use at most /{LONGEST_PREFIX}"))
        }
        Ok(net) => return Some(Spanned::new(net.trunc(), subnet.span)),
    };
    cx.push(problem);
    None
}

/// The top-level `volumes`.
pub(crate) fn volumes(root: &Mapping, project: &ProjectName, cx: &mut Cx<'_>) -> IndexMap<String, Volume> {
    let mut volumes = IndexMap::new();
    for (key, entry) in section(root, "volumes", cx) {
        volumes.insert(key.to_owned(), volume(key, entry, project, cx));
    }
    volumes
}

fn volume(key: &str, entry: &Entry, project: &ProjectName, cx: &mut Cx<'_>) -> Volume {
    let mut volume = Volume { span: entry.key, name: format!("{project}_{key}"), ..Volume::default() };
    if entry.value.is_null() {
        return volume;
    }
    let Some(fields) = cx.object(&entry.value, &format!("volume `{key}`"), &VOLUME) else { return volume };
    if let Some(external) = fields.get("external") {
        volume.external = parse_external(external, cx);
    }
    if volume.external {
        key.clone_into(&mut volume.name);
        for conflict in ["driver", "labels"].iter().filter_map(|key| fields.get(*key)) {
            let message = "an external volume is made elsewhere: nothing but its `name` can be given";
            cx.push(Problem::error(Code::ConflictingKeys, conflict.key, message).help("remove this key"));
        }
    }
    if let Some(name) = real_name(fields, cx) {
        volume.name = name;
    }
    if let Some(driver) = fields.get("driver").and_then(|entry| cx.text(&entry.value, "`driver`")) {
        if driver.value != "local" && !driver.value.is_empty() {
            cx.push(not_yet(driver.span, &format!("the volume driver `{}`", driver.value)));
        }
        volume.driver = Some(driver.value);
    }
    if let Some(labels) = fields.get("labels") {
        volume.labels = labels_of(&labels.value, "`labels`", cx);
    }
    volume
}

fn parse_external(entry: &Entry, cx: &mut Cx<'_>) -> bool {
    if entry.value.as_mapping().is_some() {
        cx.push(not_yet(entry.key, "the form `external: {name: …}`").help("write `external: true` and `name: …`"));
        return true;
    }
    cx.boolean(&entry.value, "`external`").unwrap_or(false)
}

fn real_name(fields: &Mapping, cx: &mut Cx<'_>) -> Option<String> {
    let name = cx.text(&fields.get("name")?.value, "`name`")?;
    // It becomes the name of a directory or shows in lists: it must be no path.
    if !file_name_key(&name.value) || name.value.starts_with('.') {
        let message = format!("`{}` is not a name", name.value);
        let problem = Problem::error(Code::InvalidName, name.span, message);
        cx.push(problem.reason("it must match `[a-zA-Z0-9_-][a-zA-Z0-9._-]*`"));
        return None;
    }
    Some(name.value)
}

/// The top-level `secrets` or `configs`.
pub(crate) fn files(
    root: &Mapping,
    section_name: &str,
    project: &ProjectName,
    cx: &mut Cx<'_>,
) -> IndexMap<String, FileSource> {
    let mut files = IndexMap::new();
    for (key, entry) in section(root, section_name, cx) {
        let what = format!("`{key}` of `{section_name}`");
        let Some(fields) = cx.object(&entry.value, &what, &FILE) else { continue };
        let name = real_name(fields, cx).unwrap_or_else(|| format!("{project}_{key}"));
        let refused = FILE.not_yet.iter().any(|key| fields.contains_key(*key));
        let file = match fields.get("file") {
            Some(file) => cx.text(&file.value, "`file`"),
            // The other sources are refused already; a second message would contradict the first.
            None if refused => None,
            None => {
                let problem = Problem::error(Code::MissingKey, entry.key, format!("{what} needs `file`"));
                cx.push(problem.help("write `file: path`"));
                None
            }
        };
        let path = file.map_or_else(Spanned::<PathBuf>::default, |file| {
            let directory = cx.directory.clone();
            file.map(|file| cx.absolute(&directory, &file))
        });
        let source = FileSource { name, file: path, content: String::new() };
        files.insert(key.to_owned(), source);
    }
    files
}

/// The obsolete `version`.
pub(crate) fn check_version(root: &Mapping, cx: &mut Cx<'_>) {
    if let Some(entry) = root.get("version") {
        let message = "`version` is obsolete and has no effect";
        let problem = Problem::warning(Code::ObsoleteKey, entry.key, message);
        let line = Span { end: entry.value.span.end.max(entry.key.end), ..entry.key };
        cx.push(problem.help("remove the line").patch(line, ""));
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{Files, project_errors};

    const SERVICE: &str = "services:\n  a: {image: i, networks: [n], volumes: ['v:/v']}\n";

    #[test]
    fn names_are_implied_unless_they_are_given() {
        let desired = Files::new(&format!("{SERVICE}networks: {{n: }}\nvolumes: {{v: }}\n")).desired();
        assert_eq!(desired.networks["n"].name, "p_n");
        assert!(desired.volumes.contains_key("p_v"));
        let text = format!(
            "{SERVICE}networks:\n  n: {{name: net, internal: true, driver: bridge, labels: [x=y]}}\nvolumes:\n  v: {{name: \
             vol, external: true}}\n  unused:\n"
        );
        let desired = Files::new(&text).desired();
        assert_eq!(desired.networks["n"].name, "net");
        assert!(desired.networks["n"].internal);
        assert_eq!(desired.networks["n"].labels["x"], "y");
        assert_eq!(desired.networks["n"].origin.to_string(), "compose.yaml:4:3");
        assert!(desired.volumes["vol"].external);
        assert_eq!(desired.volumes.len(), 1, "what nobody uses is not made");
        assert_eq!(desired.networks.len(), 1);
    }

    #[test]
    fn subnets_are_checked() {
        let errors = |config: &str| {
            let text = format!("{SERVICE}networks: {{n: {{ipam: {{config: [{config}]}}}}}}\nvolumes: {{v: }}\n");
            project_errors(&text)
        };
        assert_eq!(errors("{subnet: 10.0.0.0/24, gateway: 10.0.0.1}"), [""; 0]);
        assert_eq!(
            errors("{subnet: 10.0.0.0}"),
            ["3:41 `10.0.0.0` is not a subnet; write an address and a prefix length: `10.1.0.0/24`"]
        );
        assert_eq!(
            errors("{subnet: 10.0.0.0/24, gateway: 10.0.1.1}"),
            ["3:63 the gateway 10.0.1.1 is not in the subnet 10.0.0.0/24"]
        );
        assert_eq!(errors("{subnet: 'fd00::/64'}"), ["3:41 an IPv6 subnet is not supported yet"]);
        assert_eq!(
            errors("{subnet: 10.0.0.0/30}"),
            ["3:41 a subnet of /30 has no room for containers; use at most /29"]
        );
    }

    #[test]
    fn keys_of_the_specification_and_slips_are_told_apart() {
        assert_eq!(
            project_errors(
                "include: [x]\nservice:\n  a: {image: i}\nservices: {a: {image: i, build: .}, b: {imaeg: i}}\n"
            ),
            [
                "1:1 the key `include` of the project is not supported yet",
                "2:1 unknown key `service` in the project; did you mean `services`?",
                "4:26 the key `build` of service `a` is not supported yet",
                "4:37 service `b` has no `image`; add `image: name:tag`",
                "4:41 unknown key `imaeg` in service `b`; did you mean `image`?",
            ]
        );
        assert_eq!(
            project_errors(
                "services: {a: {image: i}}\nvolumes: {v: {driver: nfs}}\nsecrets: {s: {environment: X}, t: {}}\n"
            ),
            [
                "2:23 the volume driver `nfs` is not supported yet",
                "3:15 the key `environment` of `s` of `secrets` is not supported yet",
                "3:32 `t` of `secrets` needs `file`; write `file: path`",
            ]
        );
    }

    #[test]
    fn extensions_are_taken_and_version_is_obsolete() {
        let loaded = Files::new("version: '3'\nx-a: {b: c}\nservices: {a: {image: i, x-b: 1}}\n").load();
        let messages: Vec<String> = loaded.diagnostics.iter().map(ToString::to_string).collect();
        assert_eq!(messages, ["compose.yaml:1:1: `version` is obsolete and has no effect"]);
        assert!(loaded.project.is_some());
    }
}
