//! What the engine does not do yet: one table, read when a project is to be run. A row goes when its key is lowered.

use crate::context::Cx;
use crate::report::{Code, Problem};
use crate::text::Span;
use crate::yaml::{Kind, Node, Value};

/// A key that is understood and not done.
#[derive(Debug)]
pub(crate) struct Row {
    /// Where it stands; `*` is any name or item.
    pub(crate) path: &'static str,
    pub(crate) level: Level,
    /// Values that need nothing done.
    unless: fn(&Node) -> bool,
}

/// What it means that a key is not done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Level {
    /// The program would find something else than the file says.
    Refused,
    /// It does no harm; the text says why.
    Warned(&'static str),
    /// There is nothing to do; the text says why.
    Nothing,
}

const fn refused(path: &'static str) -> Row {
    Row { path, level: Level::Refused, unless: |_| false }
}

const fn refused_unless(path: &'static str, unless: fn(&Node) -> bool) -> Row {
    Row { path, level: Level::Refused, unless }
}

const fn warned(path: &'static str, why: &'static str) -> Row {
    Row { path, level: Level::Warned(why), unless: |_| false }
}

const fn nothing(path: &'static str) -> Row {
    Row { path, level: Level::Nothing, unless: |_| true }
}

const WINDOWS: &str = "it concerns Windows only";
const SWARM: &str = "it concerns several machines, and docker compose does not heed it either";
const CACHE: &str = "this machine keeps the steps of all builds anyway";
const ATTESTED: &str = "images get no attestations";
const MOUNTED: &str = "`RUN --mount=type=secret` says it, and docker compose does not heed it here either";
const ROLLOUT: &str = "containers are replaced one by one, as docker compose does it";

/// Sorted by path.
pub(crate) const NOT_DONE: &[Row] = &[
    refused_unless("configs.*.external", is_false),
    warned("configs.*.labels", "nothing shows them"),
    refused("configs.*.template_driver"),
    warned("networks.*.attachable", SWARM),
    refused_unless("networks.*.enable_ipv4", |node| !is_false(node)),
    refused_unless("networks.*.ipam.driver", |node| is_word(node, &["", "default"])),
    refused("networks.*.ipam.options"),
    refused("secrets.*.driver"),
    refused("secrets.*.driver_opts"),
    refused_unless("secrets.*.external", is_false),
    warned("secrets.*.labels", "nothing shows them"),
    refused("secrets.*.template_driver"),
    warned("services.*.annotations", "no other runtime reads them"),
    warned("services.*.build.cache_to", CACHE),
    refused_unless("services.*.build.entitlements", only_network),
    warned("services.*.build.isolation", WINDOWS),
    refused_unless("services.*.build.privileged", is_false),
    warned("services.*.build.provenance", ATTESTED),
    warned("services.*.build.sbom", ATTESTED),
    warned("services.*.build.secrets.*.gid", MOUNTED),
    warned("services.*.build.secrets.*.mode", MOUNTED),
    warned("services.*.build.secrets.*.uid", MOUNTED),
    refused("services.*.cgroup_parent"),
    warned("services.*.cpu_count", WINDOWS),
    warned("services.*.cpu_percent", WINDOWS),
    refused_unless("services.*.cpu_rt_period", is_zero),
    refused_unless("services.*.cpu_rt_runtime", is_zero),
    warned("services.*.credential_spec", WINDOWS),
    warned("services.*.deploy.endpoint_mode", SWARM),
    warned("services.*.deploy.labels", "nothing shows them"),
    refused_unless("services.*.deploy.mode", |node| is_word(node, &["", "replicated", "global"])),
    warned("services.*.deploy.placement", SWARM),
    warned("services.*.deploy.resources.reservations.cpus", SWARM),
    refused_unless("services.*.deploy.resources.reservations.devices", is_empty),
    warned("services.*.deploy.resources.reservations.generic_resources", SWARM),
    warned("services.*.deploy.rollback_config", ROLLOUT),
    warned("services.*.deploy.update_config", ROLLOUT),
    warned("services.*.develop", "files are not watched for changes yet"),
    // Every port of a container can be reached from its networks.
    nothing("services.*.expose"),
    refused_unless("services.*.external_links", is_empty),
    refused_unless("services.*.gpus", is_empty),
    warned("services.*.isolation", WINDOWS),
    refused_unless("services.*.logging.driver", |node| is_word(node, &["", "json-file", "local"])),
    refused_unless("services.*.models", is_empty),
    refused_unless("services.*.platform", is_this_platform),
    refused_unless("services.*.pre_start.*.per_replica", is_false),
    refused("services.*.provider"),
    refused_unless("services.*.runtime", |node| is_word(node, &["", "runc"])),
    refused_unless("services.*.storage_opt", is_empty),
    refused_unless("services.*.use_api_socket", is_false),
    refused_unless("services.*.userns_mode", |node| is_word(node, &["", "host"])),
    warned("services.*.volumes.*.bind.selinux", "files are not labelled for SELinux yet"),
    warned("services.*.volumes.*.consistency", "it has no effect on Linux"),
    warned("services.*.volumes.*.volume.labels", "nothing shows them"),
];

fn scalar(node: &Node) -> Option<(Value, &str)> {
    node.as_scalar().map(|scalar| (scalar.value, &*scalar.text))
}

fn is_false(node: &Node) -> bool {
    matches!(scalar(node), Some((Value::Bool(false) | Value::Null, _)))
}

fn is_zero(node: &Node) -> bool {
    matches!(scalar(node), Some((Value::Int(0) | Value::Null, _) | (_, "0")))
}

fn is_word(node: &Node, words: &[&str]) -> bool {
    scalar(node).is_some_and(|(_, text)| words.contains(&text))
}

/// Every build has the host's network for who asks for it; further rights it never has.
fn only_network(node: &Node) -> bool {
    match &node.kind {
        Kind::Sequence(items) => items.iter().all(|item| item.as_text() == Some("network.host")),
        Kind::Scalar(_) | Kind::Mapping(_) => is_empty(node),
    }
}

fn is_empty(node: &Node) -> bool {
    match &node.kind {
        Kind::Scalar(scalar) => scalar.value == Value::Null || scalar.text.is_empty(),
        Kind::Sequence(items) => items.is_empty(),
        Kind::Mapping(fields) => fields.is_empty(),
    }
}

/// The platform is the one of this machine, in one of its spellings.
fn is_this_platform(node: &Node) -> bool {
    let Some(text) = node.as_text() else { return false };
    let mut parts = text.split('/');
    let (first, second) = (parts.next().unwrap_or_default(), parts.next());
    let this = match std::env::consts::ARCH {
        "x86_64" => ["amd64", "x86_64"],
        "aarch64" => ["arm64", "aarch64"],
        other => [other, other],
    };
    match second {
        Some(architecture) => first == "linux" && this.contains(&architecture),
        None => first.is_empty() || first == "linux" || this.contains(&first),
    }
}

/// Reports what the document has and the engine does not do.
pub(crate) fn report(document: &Node, cx: &mut Cx<'_>) {
    for row in NOT_DONE.iter().filter(|row| row.level != Level::Nothing) {
        each_at(row.path, document, &mut |node, at, _| {
            if !(row.unless)(node) {
                cx.push(problem(node, at, row));
            }
        });
    }
}

/// Calls with every node at a path, the place of its key or of itself in a list, and its name: the path with the names that
/// `*` stands for, without those of items, which have none.
pub(crate) fn each_at(path: &str, document: &Node, found: &mut dyn FnMut(&Node, Span, &str)) {
    let steps: Vec<&str> = path.split('.').collect();
    walk(document, Span::default(), &steps, &mut Vec::new(), found);
}

fn walk<'n>(
    node: &'n Node,
    at: Span,
    steps: &[&'n str],
    names: &mut Vec<&'n str>,
    found: &mut dyn FnMut(&Node, Span, &str),
) {
    let Some((step, rest)) = steps.split_first() else { return found(node, at, &names.join(".")) };
    match &node.kind {
        Kind::Mapping(fields) => {
            for (name, entry) in fields.iter().filter(|(name, _)| *step == "*" || *step == &***name) {
                names.push(name);
                walk(&entry.value, entry.key, rest, names, found);
                names.pop();
            }
        }
        Kind::Sequence(items) if *step == "*" => {
            items.iter().for_each(|item| walk(item, item.span, rest, names, found));
        }
        Kind::Sequence(_) | Kind::Scalar(_) => {}
    }
}

fn problem(node: &Node, at: Span, row: &Row) -> Problem {
    let mut steps = row.path.rsplit('.').filter(|step| *step != "*");
    let key = steps.next().unwrap_or_default();
    let parent = steps.next().filter(|parent| !matches!(*parent, "services" | "networks" | "volumes"));
    let place = parent.map_or(String::new(), |parent| format!(" of `{parent}`"));
    let value = scalar(node).map(|(_, text)| text).filter(|text| !text.is_empty());
    let what = match value {
        Some(text) => format!("`{key}: {}`{place}", crate::decode::shorten(text)),
        None => format!("the key `{key}`{place}"),
    };
    match row.level {
        Level::Warned(why) => {
            Problem::warning(Code::NoEffect, at, format!("{what} has no effect")).reason(why).when_run()
        }
        Level::Refused | Level::Nothing => {
            Problem::error(Code::NotYetSupported, at, format!("{what} is not supported yet"))
                .reason("it is a part of the Compose specification, and ignoring it would change what the file means")
                .help("remove it, if the program runs without it")
                .when_run()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::SERVICE_KEYS;
    use crate::shape::Shape;
    use crate::toplevel::ROOT;

    /// Keys that another key's file lowers, or an earlier phase uses up.
    const ELSEWHERE: [&str; 9] = [
        "deploy",
        "env_file",
        "extends",
        "label_file",
        "mac_address",
        "pre_start",
        "profiles",
        "pull_refresh_after",
        "tmpfs",
    ];

    /// Fields below keys that are lowered, and are a part of that.
    const LOWERED: &[&str] = &[
        "configs.*.content",
        "configs.*.environment",
        "configs.*.file",
        "configs.*.name",
        "networks.*.driver",
        "networks.*.driver_opts",
        "networks.*.enable_ipv6",
        "networks.*.external",
        "networks.*.external.name",
        "networks.*.internal",
        "networks.*.ipam.config.*.aux_addresses",
        "networks.*.ipam.config.*.gateway",
        "networks.*.ipam.config.*.ip_range",
        "networks.*.ipam.config.*.subnet",
        "networks.*.labels",
        "networks.*.name",
        "secrets.*.environment",
        "secrets.*.file",
        "secrets.*.name",
        "services.*.blkio_config.device_read_bps.*.path",
        "services.*.blkio_config.device_read_bps.*.rate",
        "services.*.blkio_config.device_read_iops.*.path",
        "services.*.blkio_config.device_read_iops.*.rate",
        "services.*.blkio_config.device_write_bps.*.path",
        "services.*.blkio_config.device_write_bps.*.rate",
        "services.*.blkio_config.device_write_iops.*.path",
        "services.*.blkio_config.device_write_iops.*.rate",
        "services.*.blkio_config.weight",
        "services.*.blkio_config.weight_device.*.path",
        "services.*.blkio_config.weight_device.*.weight",
        "services.*.build.additional_contexts",
        "services.*.build.args",
        "services.*.build.cache_from",
        "services.*.build.context",
        "services.*.build.dockerfile",
        "services.*.build.dockerfile_inline",
        "services.*.build.extra_hosts",
        "services.*.build.labels",
        "services.*.build.network",
        "services.*.build.no_cache",
        "services.*.build.no_cache_filter",
        "services.*.build.platforms",
        "services.*.build.pull",
        "services.*.build.secrets.*.source",
        "services.*.build.secrets.*.target",
        "services.*.build.shm_size",
        "services.*.build.ssh",
        "services.*.build.tags",
        "services.*.build.target",
        "services.*.build.ulimits.*.hard",
        "services.*.build.ulimits.*.soft",
        "services.*.configs.*.gid",
        "services.*.configs.*.mode",
        "services.*.configs.*.source",
        "services.*.configs.*.target",
        "services.*.configs.*.uid",
        "services.*.depends_on.*.condition",
        "services.*.depends_on.*.required",
        "services.*.depends_on.*.restart",
        "services.*.deploy.replicas",
        "services.*.deploy.resources.limits.cpus",
        "services.*.deploy.resources.limits.memory",
        "services.*.deploy.resources.limits.pids",
        "services.*.deploy.resources.reservations.memory",
        "services.*.deploy.restart_policy.condition",
        "services.*.deploy.restart_policy.delay",
        "services.*.deploy.restart_policy.max_attempts",
        "services.*.deploy.restart_policy.window",
        "services.*.devices.*.permissions",
        "services.*.devices.*.source",
        "services.*.devices.*.target",
        "services.*.env_file.*.format",
        "services.*.env_file.*.path",
        "services.*.env_file.*.required",
        "services.*.extends.file",
        "services.*.extends.service",
        "services.*.healthcheck.disable",
        "services.*.healthcheck.interval",
        "services.*.healthcheck.retries",
        "services.*.healthcheck.start_interval",
        "services.*.healthcheck.start_period",
        "services.*.healthcheck.test",
        "services.*.healthcheck.timeout",
        "services.*.logging.options",
        "services.*.networks.*.aliases",
        "services.*.networks.*.driver_opts",
        "services.*.networks.*.gw_priority",
        "services.*.networks.*.interface_name",
        "services.*.networks.*.ipv4_address",
        "services.*.networks.*.ipv6_address",
        "services.*.networks.*.link_local_ips",
        "services.*.networks.*.mac_address",
        "services.*.networks.*.priority",
        "services.*.ports.*.app_protocol",
        "services.*.ports.*.host_ip",
        "services.*.ports.*.mode",
        "services.*.ports.*.name",
        "services.*.ports.*.protocol",
        "services.*.ports.*.published",
        "services.*.ports.*.target",
        "services.*.post_start.*.command",
        "services.*.post_start.*.environment",
        "services.*.post_start.*.privileged",
        "services.*.post_start.*.user",
        "services.*.post_start.*.working_dir",
        "services.*.pre_start.*.command",
        "services.*.pre_start.*.environment",
        "services.*.pre_start.*.image",
        "services.*.pre_start.*.privileged",
        "services.*.pre_start.*.user",
        "services.*.pre_start.*.working_dir",
        "services.*.pre_stop.*.command",
        "services.*.pre_stop.*.environment",
        "services.*.pre_stop.*.privileged",
        "services.*.pre_stop.*.user",
        "services.*.pre_stop.*.working_dir",
        "services.*.secrets.*.gid",
        "services.*.secrets.*.mode",
        "services.*.secrets.*.source",
        "services.*.secrets.*.target",
        "services.*.secrets.*.uid",
        "services.*.ulimits.*.hard",
        "services.*.ulimits.*.soft",
        "services.*.volumes.*.bind.create_host_path",
        "services.*.volumes.*.bind.propagation",
        "services.*.volumes.*.bind.recursive",
        "services.*.volumes.*.image.subpath",
        "services.*.volumes.*.read_only",
        "services.*.volumes.*.source",
        "services.*.volumes.*.target",
        "services.*.volumes.*.tmpfs.mode",
        "services.*.volumes.*.tmpfs.size",
        "services.*.volumes.*.type",
        "services.*.volumes.*.volume.nocopy",
        "services.*.volumes.*.volume.subpath",
        "volumes.*.driver",
        "volumes.*.driver_opts",
        "volumes.*.external",
        "volumes.*.external.name",
        "volumes.*.labels",
        "volumes.*.name",
    ];

    /// Every path of the language down to its last objects.
    fn paths(shape: &'static Shape, at: &str, found: &mut Vec<String>) {
        match shape.long() {
            Shape::Object(object) => {
                for field in object.fields {
                    let path = if at.is_empty() { field.name.to_owned() } else { format!("{at}.{}", field.name) };
                    found.push(path.clone());
                    paths(field.shape, &path, found);
                }
            }
            Shape::List(list) => paths(list.item, &format!("{at}.*"), found),
            Shape::Map(map) => paths(map.value, &format!("{at}.*"), found),
            Shape::Either(_, collection) => paths(collection, at, found),
            _ => {}
        }
    }

    fn all_paths() -> Vec<String> {
        let mut found = Vec::new();
        paths(&ROOT, "", &mut found);
        found
    }

    #[test]
    fn every_row_is_a_key_of_the_language() {
        assert!(NOT_DONE.iter().map(|row| row.path).is_sorted());
        let paths = all_paths();
        for row in NOT_DONE {
            let path = row.path.trim_end_matches(".*").to_owned();
            assert!(paths.contains(&path), "{} is no key", row.path);
        }
    }

    #[test]
    fn what_lowers_to_nothing_stands_in_the_table() {
        for key in SERVICE_KEYS {
            let name = key.field.name;
            let path = format!("services.*.{name}");
            let listed = NOT_DONE.iter().any(|row| row.path.starts_with(&path));
            let whole = NOT_DONE.iter().any(|row| row.path.trim_end_matches(".*") == path);
            if key.lower.is_none() && !ELSEWHERE.contains(&name) {
                assert!(listed, "`{name}` is read, not lowered, and not in the table");
            }
            assert!(!(key.lower.is_some() && whole), "`{name}` is lowered and still in the table");
        }
    }

    #[test]
    fn no_key_below_another_is_ignored_silently() {
        let known = |path: &str| {
            NOT_DONE.iter().any(|row| {
                let row = row.path.trim_end_matches(".*");
                path == row
                    || path.strip_prefix(row).is_some_and(|rest| rest.starts_with('.'))
                    || row.starts_with(&format!("{path}."))
            })
        };
        let paths = all_paths();
        let lowered =
            |path: &str| LOWERED.contains(&path) || LOWERED.iter().any(|row| row.starts_with(&format!("{path}.")));
        let missing: Vec<&String> = paths
            .iter()
            .filter(|path| {
                path.matches('.').count() >= 2 && !path.starts_with("include") && !path.starts_with("models")
            })
            .filter(|path| !known(path) && !lowered(path))
            .filter(|path| path.matches('.').count() > 2 || !path.starts_with("services."))
            .collect();
        assert_eq!(missing, Vec::<&String>::new());
        let stale: Vec<&&str> = LOWERED.iter().filter(|row| !paths.iter().any(|path| path == **row)).collect();
        assert_eq!(stale, Vec::<&&str>::new());
    }
}
