//! What a file asks of this machine beyond containers, networks and volumes of its own: one table. Who runs the project of
//! somebody else learns it before anything runs.

use std::path::{Path, PathBuf};

use stack_model::{Origin, Trust};

use crate::context::{Cx, clean};
use crate::project::Project;
use crate::report::{Code, Problem};
use crate::support::each_at;
use crate::text::Span;
use crate::yaml::{Node, Value};

/// Something that a file asks of the machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostAccess {
    /// The key, from the root of the file on.
    pub key: String,
    /// What stands there.
    pub value: String,
    /// Why that reaches the machine.
    pub why: &'static str,
    /// Where it stands.
    pub place: Origin,
    span: Span,
}

impl HostAccess {
    /// What one agrees to: the same key with another value is something else.
    pub fn wish(&self) -> String {
        format!("{}={}", self.key, self.value)
    }
}

/// A key that may reach the machine.
struct Row {
    /// Where it stands; `*` is any name or item.
    path: &'static str,
    /// What of it does.
    asks: for<'n> fn(&'n Node, &Reach<'_>) -> Option<&'n Node>,
    why: &'static str,
}

/// What a path is judged by.
struct Reach<'a> {
    directory: PathBuf,
    cx: &'a Cx<'a>,
}

const fn row(path: &'static str, asks: for<'n> fn(&'n Node, &Reach<'_>) -> Option<&'n Node>, why: &'static str) -> Row {
    Row { path, asks, why }
}

const FILE: &str = "a file outside of the project's directory";
const DEVICE: &str = "a device of this machine";
const EVERYTHING: &str = "every right over this machine";
const NAMESPACE: &str = "it sees what is the machine's own";
const ELSEWHERE: &str = "something of another project";

/// Sorted by path.
const ROWS: &[Row] = &[
    row("configs.*.file", outside, FILE),
    row("networks.*.external", yes, ELSEWHERE),
    row("secrets.*.file", outside, FILE),
    row("services.*.build.additional_contexts.*", outside, FILE),
    row("services.*.build.context", outside, FILE),
    row("services.*.build.network", host, NAMESPACE),
    row("services.*.build.ssh.*", anything, "keys of your SSH agent, or files of keys"),
    row("services.*.cap_add.*", strong, "a capability that reaches beyond the container"),
    row("services.*.cgroup", host, NAMESPACE),
    row("services.*.device_cgroup_rules.*", anything, DEVICE),
    row("services.*.devices.*", source, DEVICE),
    row("services.*.ipc", host, NAMESPACE),
    row("services.*.network_mode", host, NAMESPACE),
    row("services.*.pid", host, NAMESPACE),
    row("services.*.post_start.*.privileged", yes, EVERYTHING),
    row("services.*.pre_start.*.privileged", yes, EVERYTHING),
    row("services.*.pre_stop.*.privileged", yes, EVERYTHING),
    row("services.*.privileged", yes, EVERYTHING),
    row("services.*.security_opt.*", unconfined, "the kernel is less protected from it"),
    row("services.*.uts", host, NAMESPACE),
    row("services.*.volumes.*", bound, FILE),
    row("volumes.*.driver_opts.device", outside, FILE),
    row("volumes.*.external", yes, ELSEWHERE),
];

/// Capabilities with which a container does not stay one, or that no namespace holds.
const STRONG: [&str; 16] = [
    "ALL",
    "AUDIT_CONTROL",
    "AUDIT_READ",
    "BPF",
    "CHECKPOINT_RESTORE",
    "DAC_READ_SEARCH",
    "MAC_ADMIN",
    "MAC_OVERRIDE",
    "PERFMON",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYSLOG",
];

fn anything<'n>(node: &'n Node, _: &Reach<'_>) -> Option<&'n Node> {
    Some(node)
}

fn yes<'n>(node: &'n Node, _: &Reach<'_>) -> Option<&'n Node> {
    node.as_scalar().filter(|scalar| scalar.value == Value::Bool(true)).map(|_| node)
}

fn host<'n>(node: &'n Node, _: &Reach<'_>) -> Option<&'n Node> {
    (node.as_text() == Some("host")).then_some(node)
}

fn strong<'n>(node: &'n Node, _: &Reach<'_>) -> Option<&'n Node> {
    let name = node.as_text()?.to_ascii_uppercase();
    STRONG.contains(&name.strip_prefix("CAP_").unwrap_or(&name)).then_some(node)
}

/// A profile of one's own may allow as much as none.
fn unconfined<'n>(node: &'n Node, _: &Reach<'_>) -> Option<&'n Node> {
    let text = node.as_text()?;
    let (kind, value) = text.split_once([':', '=']).unwrap_or((text, ""));
    let weakens = match kind {
        "no-new-privileges" => false,
        "seccomp" | "apparmor" => !matches!(value, "builtin" | "docker-default"),
        _ => true,
    };
    weakens.then_some(node)
}

fn source<'n>(node: &'n Node, _: &Reach<'_>) -> Option<&'n Node> {
    node.get("source").or_else(|| node.as_text().map(|_| node))
}

fn bound<'n>(node: &'n Node, reach: &Reach<'_>) -> Option<&'n Node> {
    let is_bind = node.get("type").and_then(Node::as_text) == Some("bind");
    outside(node.get("source").filter(|_| is_bind)?, reach)
}

/// A path that does not lie in the project's directory, wherever its links lead.
fn outside<'n>(node: &'n Node, reach: &Reach<'_>) -> Option<&'n Node> {
    let path = Path::new(node.as_text()?);
    // Anything else is no path of this machine: an image, a service, a network file system.
    (path.is_absolute() && !reach.is_inside(path)).then_some(node)
}

impl Reach<'_> {
    fn is_inside(&self, path: &Path) -> bool {
        let path = clean(path);
        // What is not there yet would be made below what its nearest directory leads to.
        let there = path.ancestors().find_map(|there| Some((there, self.cx.loader.resolve(there)?)));
        let real = match there {
            Some((there, real)) => real.join(path.strip_prefix(there).unwrap_or(Path::new(""))),
            None => path.clone(),
        };
        real.starts_with(&self.directory)
    }
}

/// Everything that a project asks of the machine, in the order of the table.
pub(crate) fn find(project: &Project, cx: &Cx<'_>) -> Vec<HostAccess> {
    let directory = cx.loader.resolve(&project.directory).unwrap_or_else(|| project.directory.clone());
    let reach = Reach { directory, cx };
    let names = cx.files.names(&cx.root);
    let mut all = Vec::new();
    let mut add = |key: String, value: &str, span: Span, why| {
        all.push(HostAccess { key, value: value.to_owned(), why, place: names.origin(span), span });
    };
    for row in ROWS {
        each_at(row.path, &project.document, &mut |node, at, key| {
            let Some(asked) = (row.asks)(node, &reach) else { return };
            // Items have no name of their own: it is the value that tells them apart.
            let value = asked.as_scalar().map_or_else(String::new, |scalar| scalar.text.to_string());
            let span = if asked.span.is_somewhere() { asked.span } else { at };
            add(key.to_owned(), &value, span, row.why);
        });
    }
    // The document has what they say in their place.
    for service in project.services.values() {
        let env_files = service.env_file.iter().map(|file| ("env_file", &file.path));
        for (key, path) in env_files.chain(service.label_file.iter().map(|path| ("label_file", path))) {
            if !reach.is_inside(&path.value) {
                add(format!("services.{}.{key}", service.name), &path.value.to_string_lossy(), path.span, FILE);
            }
        }
    }
    all
}

/// Refuses what nobody agreed to, where it was asked for that somebody does.
pub(crate) fn check(project: &Project, trust: &Path, cx: &mut Cx<'_>) {
    let agreed = cx.read(&Trust::file(trust, &project.name)).unwrap_or_default();
    // What cannot be understood agrees to nothing.
    let agreed: Trust = serde_json::from_slice(&agreed).unwrap_or_default();
    for access in &project.host_access {
        if !agreed.covers(&project.directory, &access.wish()) {
            let message = format!("`{}: {}` reaches this machine: {}", access.key, access.value, access.why);
            let problem = Problem::error(Code::HostAccess, access.span, message)
                .reason("`host_access: ask` is set, and nobody has agreed to it for this project")
                .help("if you trust the file, run the command with `--trust`, once");
            cx.push(problem.when_run());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use stack_model::Severity;

    use super::*;
    use crate::testing::Files;

    fn asked(files: &Files) -> Vec<String> {
        files.project().host_access().iter().map(|access| format!("{} {}", access.place, access.wish())).collect()
    }

    #[test]
    fn what_reaches_the_machine_is_known() {
        let files = Files::new(include_str!("../tests/reaching.yaml"));
        let files = files
            .with("/etc/a.env", "A=1\n")
            .with("/etc/l", "l=1\n")
            .with("/root/key", "k")
            .with("/etc/passwd", "p")
            .with("own", "o");
        let keys: Vec<String> = files.project().host_access().iter().map(HostAccess::wish).collect();
        let expected = include_str!("../tests/reaching.txt");
        assert_eq!(keys, expected.lines().collect::<Vec<_>>());
    }

    #[test]
    fn every_row_is_met_by_the_example() {
        let expected = include_str!("../tests/reaching.txt");
        for row in ROWS {
            let last = row.path.trim_end_matches(".*").rsplit('.').find(|step| *step != "*").unwrap();
            let first = row.path.split('.').next().unwrap();
            let meets = |line: &&str| {
                line.starts_with(first) && line.split('=').next().is_some_and(|key| key.split('.').any(|it| it == last))
            };
            assert!(expected.lines().any(|line| meets(&line)), "{}", row.path);
        }
        assert!(ROWS.is_sorted_by_key(|row| row.path));
    }

    #[test]
    fn what_stays_in_the_project_is_nothing_to_ask_for() {
        let text = "services:\n  a:\n    image: i\n    volumes: ['./x:/x', 'vol:/v', '/p/y:/y']\n    cap_add: [NET_ADMIN, CHOWN]\n    \
                    security_opt: ['no-new-privileges:true']\n    privileged: false\n    env_file: a.env\n    \
                    secrets: [s]\n    ports: ['80:80']\nvolumes: {vol: }\nsecrets: {s: {file: own}}\n";
        assert_eq!(asked(&Files::new(text).with("a.env", "A=1\n").with("own", "o")), [""; 0]);
    }

    #[test]
    fn links_do_not_hide_where_a_path_leads() {
        let root = tempfile::tempdir().unwrap();
        let directory = root.path().join("p");
        fs_err::create_dir(&directory).unwrap();
        fs_err::os::unix::fs::symlink("/", directory.join("data")).unwrap();
        let text = "services:\n  a:\n    image: i\n    volumes: ['./data:/a', './data/new/dir:/b', './other:/c']\n";
        fs_err::write(directory.join("compose.yaml"), text).unwrap();
        let source = stack_model::ProjectSource { working_dir: directory.clone(), ..Default::default() };
        let project = crate::load(&source, &crate::DiskLoader).project.unwrap();
        let values: Vec<&str> = project.host_access().iter().map(|access| access.value.as_str()).collect();
        let path = |name: &str| directory.join(name).to_string_lossy().into_owned();
        assert_eq!(values, [path("data"), path("data/new/dir")]);
    }

    #[test]
    fn a_project_is_refused_for_what_nobody_agreed_to() {
        let text = "services:\n  a: {image: i, privileged: true, pid: host}\n";
        let files = Files::new(text).trusting("/t");
        let errors = |files: &Files| {
            let diagnostics = files.load().diagnostics;
            let errors = diagnostics.into_iter().filter(|diagnostic| diagnostic.severity == Severity::Error);
            errors.map(|error| (error.labels[0].origin.to_string(), error.message)).collect::<Vec<_>>()
        };
        let pid = (
            "compose.yaml:2:40".to_owned(),
            "`services.a.pid: host` reaches this machine: it sees what is the machine's own".to_owned(),
        );
        assert_eq!(errors(&files).len(), 2);
        let agreed = |directory: &str| {
            let wishes = BTreeSet::from(["services.a.privileged=true".to_owned()]);
            serde_json::to_string(&Trust { directory: directory.into(), wishes }).unwrap()
        };
        assert_eq!(errors(&files.clone().with("/t/p.json", &agreed("/p"))), [pid]);
        assert_eq!(errors(&files.clone().with("/t/p.json", &agreed("/q"))).len(), 2, "another project of the name");
        assert_eq!(files.reading_errors(), [""; 0], "`config` shows it all the same");
    }
}
