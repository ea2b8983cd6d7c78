//! `build`: how the image is made. A text is the context.

use std::path::PathBuf;

use stack_model as model;

use super::Lowering;
use super::ServiceKey;
use super::extra_hosts::HOSTS;
use super::forms::{before_equals, key_values, labels_of};
use super::ulimits::{PLAIN_ULIMITS, limits};
use crate::context::Cx;
use crate::paths::is_elsewhere;
use crate::report::{Code, Problem};
use crate::service::{Build, BuildContext, Service};
use crate::shape::common::{
    ANY_TEXTS, BOOL, BYTES, LABELS, SCALAR, TEXT, TEXT_OR_BOOL, TEXT_OR_TEXTS, TEXTS, VARIABLES,
};
use crate::shape::{At, Field, Forms, MapOf, Merge, Names, Object, Shape};
use crate::text::Spanned;
use crate::yaml::{Kind, Mapping, Node};

pub(super) const KEY: ServiceKey =
    ServiceKey::new("build", "How the image is made; a text is the context.", &BUILD).parse(parse).lower(|from, to| {
        to.build = from.service.build.as_ref().map(|build| Box::new(lower(build, from)));
    });

const BUILD: Shape = Shape::Forms(Forms::new(&LONG, &[&TEXT], expand).at_once());
const LONG: Shape = Shape::Object(&Object::new(&[
    Field::new("context", "Directory or Git repository with what the build needs.", &TEXT),
    Field::new("dockerfile", "Path of the Dockerfile, from the context on.", &TEXT),
    Field::new("dockerfile_inline", "The Dockerfile itself.", &TEXT),
    Field::new("entitlements", "Further rights of the build.", &ANY_TEXTS),
    Field::new("args", "Variables of the build.", &VARIABLES),
    Field::new("provenance", "Attestation of how the image was made.", &TEXT_OR_BOOL),
    Field::new("sbom", "Attestation of what is in the image.", &TEXT_OR_BOOL),
    Field::new("ssh", "SSH agents or keys for the build: `default` or `id=path`.", &SSH),
    Field::new("labels", "Labels of the image.", &LABELS),
    Field::new("cache_from", "Where cached layers come from.", &ANY_TEXTS),
    Field::new("cache_to", "Where cached layers go to.", &ANY_TEXTS),
    Field::new("no_cache", "Build every step again.", &BOOL),
    Field::new("no_cache_filter", "Stages to build again.", &TEXT_OR_TEXTS),
    Field::new("additional_contexts", "Further contexts by name.", &CONTEXTS),
    Field::new("pull", "Ask the registry for newer base images.", &BOOL),
    Field::new("extra_hosts", "Further names of hosts in the build.", &HOSTS)
        .merge(Merge::Unique(super::forms::itself)),
    Field::new("isolation", "Isolation technology; only on Windows.", &TEXT),
    Field::new("network", "Network of the build: `none`, `host` or a name.", &TEXT),
    Field::new("target", "Stage of the Dockerfile to build.", &TEXT),
    Field::new("secrets", "Secrets that the build sees.", &super::configs::FILES),
    Field::new("shm_size", "Size of /dev/shm in the build.", &BYTES),
    Field::new("tags", "Further names of the image.", &TEXTS).merge(Merge::Unique(before_equals)),
    Field::new("ulimits", "Resource limits of the build's processes.", &PLAIN_ULIMITS),
    Field::new("platforms", "Platforms to build for.", &ANY_TEXTS),
    Field::new("privileged", "Build with all rights.", &BOOL),
]));

const SSH: Shape = Shape::Forms(Forms::new(&KEYS, &[&TEXTS], expand_ssh).at_once());
const KEYS: Shape =
    Shape::Map(MapOf { value: &SCALAR, keys: Names::Free, entry: "", merge: Merge::Deep, listed: true });

const CONTEXTS: Shape = Shape::Forms(Forms::new(&LABELS, &[&TEXTS], expand_contexts));

#[expect(clippy::unnecessary_wraps, reason = "the form of every expansion")]
fn expand(node: Node, _: &At<'_>, _: &mut Cx<'_>) -> Option<Node> {
    let span = node.span;
    Some(if node.as_text().is_some() { Node::mapping([("context", node)], span) } else { node })
}

fn expand_ssh(node: Node, at: &At<'_>, cx: &mut Cx<'_>) -> Option<Node> {
    check_items(&node, |text| text == "default", "write `default`, or `id=path`", cx);
    key_values(node, at, cx)
}

fn expand_contexts(node: Node, at: &At<'_>, cx: &mut Cx<'_>) -> Option<Node> {
    check_items(&node, |_| false, "write `name=path`", cx);
    key_values(node, at, cx)
}

/// Items of a list that have no value and need one.
fn check_items(node: &Node, needs_none: fn(&str) -> bool, help: &str, cx: &mut Cx<'_>) {
    let Kind::Sequence(items) = &node.kind else { return };
    for item in items {
        let bare = item.as_text().filter(|text| !text.contains('=') && !needs_none(text));
        if let Some(text) = bare {
            let problem = Problem::error(Code::InvalidValue, item.span, format!("`{text}` has no value"));
            cx.push(problem.help(help));
        }
    }
}

fn parse(node: &Node, service: &mut Service, cx: &mut Cx<'_>) {
    let Some(fields) = node.as_mapping() else { return };
    let mut build = Build::default();
    for (key, entry) in fields {
        parse_field(key, &entry.value, &mut build, cx);
    }
    service.build = Some(Box::new(build));
}

fn parse_field(key: &str, node: &Node, build: &mut Build, cx: &mut Cx<'_>) {
    let what = format!("`{key}` of `build`");
    let text = |cx: &mut Cx<'_>| cx.text(node, &what).map(|text| text.value).filter(|text| !text.is_empty());
    let texts = |cx: &mut Cx<'_>| -> Vec<Spanned<String>> { cx.texts(node, &what).unwrap_or_default() };
    let plain = |texts: Vec<Spanned<String>>| texts.into_iter().map(|text| text.value).collect();
    match key {
        "context" => build.context = cx.text(node, &what).and_then(|text| directory(&text, cx)).unwrap_or_default(),
        "dockerfile" => build.dockerfile = text(cx).map(PathBuf::from),
        "dockerfile_inline" => build.dockerfile_inline = text(cx),
        "args" => {
            for (name, entry) in node.as_mapping().into_iter().flatten() {
                let value = cx.any_text(&entry.value, &format!("`{name}` of `args`"));
                build.args.insert(name.to_string(), value.flatten());
            }
        }
        "target" => build.target = text(cx),
        "tags" => build.tags = plain(texts(cx)),
        "labels" => build.labels = labels_of(node, "`labels` of `build`", cx),
        "no_cache" => build.no_cache = cx.boolean(node, &what).unwrap_or_default(),
        "no_cache_filter" if node.as_text().is_some() => build.no_cache_filter = text(cx).into_iter().collect(),
        "no_cache_filter" => build.no_cache_filter = plain(texts(cx)),
        "pull" => build.pull = cx.boolean(node, &what).unwrap_or_default(),
        "cache_from" => {
            build.cache_from = texts(cx).iter().filter_map(|text| cached_image(&text.value)).collect();
        }
        "platforms" => build.platforms = plain(texts(cx)),
        "secrets" => build.secrets = secrets(node),
        "ssh" => build.ssh = agents(node.as_mapping(), cx),
        "network" => build.network = network(node, cx),
        "extra_hosts" => build.extra_hosts = texts(cx).iter().filter_map(|host| named_host(host, cx)).collect(),
        "shm_size" => build.shm_size = cx.bytes(node, &what).map(|size| size.value).filter(|size| *size > 0),
        "ulimits" => build.ulimits = limits(node, cx),
        "additional_contexts" => {
            for (name, entry) in node.as_mapping().into_iter().flatten() {
                let context = cx.text(&entry.value, &format!("`{name}` of `additional_contexts`"));
                if let Some(context) = context.and_then(|text| context_of(&text, cx)) {
                    build.additional_contexts.insert(name.to_string(), context);
                }
            }
        }
        // What is left is in the table of `support.rs`.
        _ => {}
    }
}

/// A directory of this machine: a context from elsewhere is refused here, before anything is built.
fn directory(text: &Spanned<String>, cx: &mut Cx<'_>) -> Option<PathBuf> {
    if is_elsewhere(&text.value) {
        let message = format!("the context `{}` is not a directory of this machine", text.value);
        let problem = Problem::error(Code::NotYetSupported, text.span, message);
        let problem = problem.reason("contexts from Git repositories and web servers are not supported yet");
        cx.push(problem.help("clone it beside the file, and name the directory"));
        return None;
    }
    let directory = cx.directory.clone();
    Some(cx.absolute(&directory, &text.value))
}

fn context_of(text: &Spanned<String>, cx: &mut Cx<'_>) -> Option<BuildContext> {
    if let Some(image) = text.value.strip_prefix("docker-image://") {
        return Some(BuildContext::Image(image.to_owned()));
    }
    match text.value.strip_prefix("service:") {
        Some(service) => Some(BuildContext::Service(service.to_owned())),
        None => directory(text, cx).map(BuildContext::Directory),
    }
}

/// `name`, or `type=registry,ref=name`. The specification wants other types to be passed over.
fn cached_image(text: &str) -> Option<String> {
    if !text.contains('=') {
        return Some(text.to_owned());
    }
    let field = |wanted: &str| {
        text.split(',')
            .filter_map(|field| field.split_once('='))
            .find(|(name, _)| *name == wanted)
            .map(|(_, value)| value)
    };
    field("ref").filter(|_| field("type").is_none_or(|kind| kind == "registry")).map(str::to_owned)
}

/// The id is the target, or the name of the secret.
fn secrets(node: &Node) -> Vec<(String, String)> {
    let Kind::Sequence(items) = &node.kind else { return Vec::new() };
    let text = |item: &Node, key: &str| item.get(key).and_then(Node::as_text).map(str::to_owned);
    let pair = |item: &Node| {
        let source = text(item, "source")?;
        Some((text(item, "target").filter(|id| !id.is_empty()).unwrap_or_else(|| source.clone()), source))
    };
    items.iter().filter_map(pair).collect()
}

fn agents(fields: Option<&Mapping>, cx: &Cx<'_>) -> Vec<(String, Option<PathBuf>)> {
    let directory = cx.directory.clone();
    let socket = |node: &Node| {
        let path = node.as_text().filter(|path| !path.is_empty())?;
        Some(cx.absolute(&directory, path))
    };
    fields.into_iter().flatten().map(|(id, entry)| (id.to_string(), socket(&entry.value))).collect()
}

fn network(node: &Node, cx: &mut Cx<'_>) -> model::BuildNetwork {
    let Some(text) = cx.text(node, "`network` of `build`") else { return model::BuildNetwork::Default };
    match text.value.as_str() {
        "" | "default" => {}
        "none" => return model::BuildNetwork::None,
        "host" => return model::BuildNetwork::Host,
        other => {
            let message = format!("a build cannot join the network `{other}`");
            let problem = Problem::error(Code::NotYetSupported, text.span, message);
            cx.push(problem.help("write `none` or `host`, or leave it away for one that reaches the outside"));
        }
    }
    model::BuildNetwork::Default
}

fn named_host(text: &Spanned<String>, cx: &mut Cx<'_>) -> Option<(String, String)> {
    let (name, address) = text.value.split_once('=')?;
    if address != "host-gateway" && address.parse::<std::net::IpAddr>().is_err() {
        let problem = Problem::error(Code::InvalidValue, text.span, format!("`{address}` is not an address"));
        cx.push(problem.help("write `name=address`, or `name=host-gateway`"));
        return None;
    }
    Some((name.to_owned(), address.to_owned()))
}

fn lower(build: &Build, from: &Lowering<'_>) -> model::Build {
    let project = from.project;
    let image = project.image_of(from.service).unwrap_or_default();
    let dockerfile = match (&build.dockerfile_inline, &build.dockerfile) {
        (Some(text), _) => model::Dockerfile::Inline(text.clone()),
        (None, Some(path)) => model::Dockerfile::File(path.clone()),
        (None, None) => model::Dockerfile::default(),
    };
    let agent = || project.variables.get_non_empty("SSH_AUTH_SOCK").map(PathBuf::from);
    let sockets = build.ssh.iter().filter_map(|(id, socket)| Some((id.clone(), socket.clone().or_else(agent)?)));
    let image_of = |service: &String| {
        let other = project.services.get(service).or_else(|| project.disabled.get(service));
        other.and_then(|other| project.image_of(other)).unwrap_or_default()
    };
    let context = |context: &BuildContext| match context {
        BuildContext::Directory(path) => model::NamedContext::Directory(path.clone()),
        BuildContext::Image(name) => model::NamedContext::Image(name.clone()),
        BuildContext::Service(service) => model::NamedContext::Built(image_of(service)),
    };
    let contexts = build.additional_contexts.iter().map(|(name, entry)| (name.clone(), context(entry)));
    model::Build {
        context: build.context.clone(),
        dockerfile,
        args: build.args.clone().into_iter().collect(),
        target: build.target.clone(),
        tags: std::iter::once(image).chain(build.tags.iter().cloned()).collect(),
        labels: build.labels.clone().into_iter().collect(),
        no_cache: build.no_cache,
        no_cache_filter: build.no_cache_filter.clone(),
        pull: build.pull,
        cache_from: build.cache_from.clone(),
        platforms: build.platforms.clone(),
        secrets: build.secrets.iter().filter_map(|(id, name)| Some((id.clone(), project.secret(name)?))).collect(),
        ssh: sockets.collect(),
        network: build.network,
        extra_hosts: build.extra_hosts.clone(),
        shm_size: build.shm_size,
        ulimits: build.ulimits.clone(),
        contexts: contexts.collect(),
    }
}

#[cfg(test)]
mod tests {
    use stack_model::{Build, BuildNetwork, Dockerfile, NamedContext, SecretSource, Ulimit};

    use crate::testing::{Files, project_errors};

    fn build(text: &str) -> Build {
        let service = Files::new(text).with("key", "k").service("a");
        *service.build.unwrap()
    }

    #[test]
    fn a_text_is_the_context_and_the_name_comes_from_project_and_service() {
        let project = Files::new("services:\n  Web: {build: ./Sub}\n").project_name("shop");
        let service = project.service("Web");
        let build = service.build.unwrap();
        assert_eq!((build.context.to_str(), &build.tags[..]), (Some("/p/Sub"), &["shop-web".to_owned()][..]));
        assert_eq!(build.dockerfile, Dockerfile::File("Dockerfile".into()));
        assert_eq!(service.container.image.as_str(), "shop-web");
    }

    #[test]
    fn every_key_is_lowered() {
        let text = "services:
  a:
    image: named:1
    build:
      context: src
      dockerfile: ../other.Dockerfile
      args: {A: 1, PASSED: , GONE: }
      target: last
      tags: [further:2, named:3]
      labels: [a=b]
      no_cache: true
      pull: true
      cache_from: [plain, 'type=registry,ref=there', 'type=gha']
      platforms: [linux/amd64]
      secrets: [plain, {source: var, target: token}]
      ssh: [default, other=sockets/x]
      network: none
      extra_hosts: ['db:10.0.0.1', 'six=[::1]', 'up=host-gateway']
      shm_size: 64m
      no_cache_filter: [first, last]
      ulimits: {nofile: 99, core: {soft: 0, hard: -1}}
      entitlements: [network.host]
      additional_contexts: {dir: ../d, image: 'docker-image://i:1', b: 'service:b'}
  b:
    build: {dockerfile_inline: 'FROM scratch'}
secrets:
  plain: {file: key}
  var: {environment: TOKEN}
";
        let loaded = Files::new(text).with("key", "k").variable("SSH_AUTH_SOCK", "/agent");
        // The builder alone reads the variable of a secret.
        let text = text.replace("environment: TOKEN", "file: key");
        let build = *Files::new(&text).with("key", "k").variable("SSH_AUTH_SOCK", "/agent").service("a").build.unwrap();
        let texts = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        assert_eq!(build.context.to_str(), Some("/p/src"));
        assert_eq!(build.dockerfile, Dockerfile::File("../other.Dockerfile".into()));
        assert_eq!(build.args, [("A", "1"), ("PASSED", "through")].map(|(k, v)| (k.into(), Some(v.into()))).into());
        assert_eq!(build.target.as_deref(), Some("last"));
        assert_eq!(build.tags, texts(&["named:1", "further:2", "named:3"]));
        assert_eq!(build.labels, [("a".into(), "b".into())].into());
        assert!(build.no_cache && build.pull);
        assert_eq!((build.cache_from, build.platforms), (texts(&["plain", "there"]), texts(&["linux/amd64"])));
        let file = || SecretSource::File("/p/key".into());
        assert_eq!(build.secrets, [("plain".into(), file()), ("token".into(), file())].into());
        assert_eq!(build.ssh, [("default".into(), "/agent".into()), ("other".into(), "/p/sockets/x".into())].into());
        assert_eq!((build.network, build.shm_size), (BuildNetwork::None, Some(64 << 20)));
        assert_eq!(build.no_cache_filter, texts(&["first", "last"]));
        let limit = |soft, hard| Ulimit { soft, hard };
        assert_eq!(build.ulimits, [("nofile".into(), limit(99, 99)), ("core".into(), limit(0, -1))].into());
        let hosts = [("db", "10.0.0.1"), ("six", "::1"), ("up", "host-gateway")];
        assert_eq!(build.extra_hosts, hosts.map(|(name, address)| (name.to_owned(), address.to_owned())));
        let contexts = [
            ("b".to_owned(), NamedContext::Built("p-b".to_owned())),
            ("dir".to_owned(), NamedContext::Directory("/d".into())),
            ("image".to_owned(), NamedContext::Image("i:1".to_owned())),
        ];
        assert_eq!(build.contexts, contexts.into());
        let shown = loaded.shown();
        assert_eq!(shown["services"]["a"]["build"]["secrets"][1]["target"], "token");
    }

    #[test]
    fn an_inline_dockerfile_and_a_variable_as_secret() {
        let text = "services:\n  a: {build: {dockerfile_inline: 'FROM scratch', context: /c}}\n";
        let build = build(text);
        assert_eq!(build.dockerfile, Dockerfile::Inline("FROM scratch".to_owned()));
        assert_eq!(build.context.to_str(), Some("/c"));
    }

    #[test]
    fn what_cannot_be_built_is_said_at_its_place() {
        let message = |build: &str| project_errors(&format!("services:\n  a:\n    build: {build}\n")).join("\n");
        for (build, expected) in [
            (
                "https://github.com/a/b.git",
                "3:12 the context `https://github.com/a/b.git` is not a directory of this machine; clone it beside the file, and name the directory",
            ),
            (
                "git@example.org:a/b",
                "3:12 the context `git@example.org:a/b` is not a directory of this machine; clone it beside the file, and name the directory",
            ),
            (
                "{additional_contexts: {x: 'https://example.org/x.tar'}}",
                "3:38 the context `https://example.org/x.tar` is not a directory of this machine; clone it beside the file, and name the directory",
            ),
            (
                "{network: back}",
                "3:22 a build cannot join the network `back`; write `none` or `host`, or leave it away for one that reaches the outside",
            ),
            ("{extra_hosts: [a=b]}", "3:27 `b` is not an address; write `name=address`, or `name=host-gateway`"),
            (
                "{privileged: true}",
                "3:13 `privileged: true` of `build` is not supported yet; remove it, if the program runs without it",
            ),
        ] {
            assert_eq!(message(build), expected, "{build}");
        }
    }
}
