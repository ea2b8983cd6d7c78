//! `ports`: ports of the host that lead to the container.
//!
//! The short form is `[[address:]host:]container[/protocol]`, where both ports may be ranges.

use std::ops::Range;

use stack_model::{self as model, HostPort, PortSpec, Protocol};

use super::ServiceKey;
use super::key::Lowering;
use crate::context::Cx;
use crate::nearest::nearest;
use crate::report::{Code, Problem};
use crate::service::{Port, Service};
use crate::shape::Merge;
use crate::shape::common::{COUNT, TEXT, TEXT_OR_NUMBER};
use crate::shape::{At, Field, Forms, Leaf as ShapeLeaf, Like, List, Object, Shape};
use crate::yaml::{Kind, Layout, Node, Value as Leaf};

pub(super) const KEY: ServiceKey = ServiceKey::new("ports", "Ports that the host answers on.", &PORTS)
    .merge(Merge::Unique(identity))
    .parse(parse)
    .lower(lower);

const PORTS: Shape = Shape::Forms(Forms::new(&LIST, &[&SHORT], canonical).at_once());
const SHORT: Shape = Shape::List(List { item: &TEXT_OR_NUMBER, unique: false });
const LIST: Shape = Shape::List(List { item: &PORT, unique: false });
const PORT: Shape = Shape::Object(
    &Object::new(&[
        Field::new("name", "A name for the port.", &TEXT),
        Field::new("mode", "`ingress` or `host`; they mean the same on one machine.", &TEXT),
        Field::new("host_ip", "Address of the host; all by default.", &Shape::Leaf(ShapeLeaf::Like(&ADDRESS))),
        Field::new("target", "Port of the container.", &COUNT),
        Field::new("published", "Port of the host, or a range; any free one by default.", &TEXT_OR_NUMBER),
        Field::new("protocol", "`tcp`, `udp` or `sctp`.", &TEXT),
        Field::new("app_protocol", "Protocol of the application, such as `http`.", &TEXT),
    ])
    .required(&["target"]),
);

const ADDRESS: Like = Like {
    matches: is_address,
    called: "an IP address",
    pattern: "^[0-9a-fA-F.:]+$",
    wanted: "an address of the host, such as `127.0.0.1`",
    words: &[],
};

/// A range becomes an entry for each port. Real projects publish ranges of ten thousand; more in all is a mistake, and
/// each takes memory.
const MAX_PORTS: usize = 1 << 15;

fn canonical(node: Node, _: &At<'_>, cx: &mut Cx<'_>) -> Option<Node> {
    let (span, tag) = (node.span, node.tag);
    let Kind::Sequence(items) = node.kind else {
        cx.wrong_type(&node, "`ports`", "a list");
        return None;
    };
    if !cx.templates {
        return Some(Node { tag, ..Node::sequence(long_forms(items, cx), span) });
    }
    // As long as a variable is among them all stay as they are written.
    let long = cx.tentatively(|cx| Some(long_forms(items.clone(), cx)));
    Some(Node { tag, ..Node::sequence(long.unwrap_or(items), span) })
}

fn long_forms(items: Vec<Node>, cx: &mut Cx<'_>) -> Vec<Node> {
    let mut ports = Vec::new();
    for item in items {
        let number = item.as_scalar().is_some_and(|scalar| matches!(scalar.value, Leaf::Int(_)));
        if number || item.as_text().is_some() {
            ports.extend(expand(&item, cx));
        } else if item.as_mapping().is_some() {
            ports.push(item);
        } else {
            cx.wrong_type(&item, "an item of `ports`", "a port such as `\"8080:80\"`, or a mapping");
        }
    }
    ports
}

/// What ports are of.
const PROTOCOLS: [&str; 3] = ["tcp", "udp", "sctp"];

/// The parts of a short form, as ranges of its text.
struct Short {
    host_ip: Range<usize>,
    host: Range<usize>,
    container: Range<usize>,
    protocol: Range<usize>,
}

fn split(text: &str) -> Short {
    let address_end = text.rfind('/').unwrap_or(text.len());
    let protocol = (address_end + 1).min(text.len())..text.len();
    let colon = text[..address_end].rfind(':');
    let container = colon.map_or(0, |colon| colon + 1)..address_end;
    let before = colon.unwrap_or(0);
    // The colons of an IPv6 address stand between brackets.
    let bracket = text[..before].rfind(']').map_or(0, |bracket| bracket + 1);
    let host_start = text[bracket..before].rfind(':').map_or(bracket, |colon| bracket + colon + 1);
    let ip_end = host_start.saturating_sub(1);
    let brackets = text.starts_with('[') && text[..ip_end].ends_with(']');
    let host_ip = if brackets { 1..ip_end - 1 } else { 0..ip_end };
    Short { host_ip, host: host_start..before, container, protocol }
}

/// The long forms of a short one.
fn expand(item: &Node, cx: &mut Cx<'_>) -> Vec<Node> {
    let text = item.as_scalar().map(|scalar| scalar.text.to_string()).unwrap_or_default();
    let parts = split(&text);
    if parts.container.is_empty() {
        let problem = Problem::error(Code::InvalidValue, item.span, format!("no container port in `{text}`"));
        cx.push(problem.help("write `\"host:container\"`, such as `\"8080:80\"`"));
        return Vec::new();
    }
    let (Some(container), Some(host)) = (range(item, &text, &parts.container, cx), range(item, &text, &parts.host, cx))
    else {
        return Vec::new();
    };
    if container == (0, 0) {
        let span = item.part(parts.container);
        let problem = Problem::error(Code::InvalidValue, span, "0 is not a port of the container");
        cx.push(problem.help("write the port that the program listens on"));
        return Vec::new();
    }
    let count = usize::from(container.1 - container.0) + 1;
    let host_count = if parts.host.is_empty() { 0 } else { usize::from(host.1 - host.0) + 1 };
    if count > 1 && host_count > 0 && host_count != count {
        let message = format!("{host_count} ports of the host for {count} ports of the container");
        let problem = Problem::error(Code::InvalidValue, item.part(parts.host.start..parts.container.end), message);
        cx.push(problem.help("give both ranges the same length"));
        return Vec::new();
    }
    if !check_ends(item, &text, &parts, cx) {
        return Vec::new();
    }
    cx.ports += count;
    if cx.ports > MAX_PORTS {
        let span = item.part(parts.container);
        cx.push(Problem::error(Code::InvalidValue, span, format!("the project publishes more than {MAX_PORTS} ports")));
        return Vec::new();
    }
    let published = |index: u16| match host_count {
        0 => None,
        // One port of the container and several of the host: any of them.
        more if count == 1 && more > 1 => Some(text[parts.host.clone()].to_owned()),
        _ => Some((host.0 + index).to_string()),
    };
    let mut indices: Vec<u16> = (0..=container.1 - container.0).collect();
    // Docker compose sorts them as texts.
    indices.sort_by_key(|index| (container.0 + index).to_string());
    indices
        .into_iter()
        .map(|index| {
            let span = item.part(parts.container.clone());
            let target = container.0 + index;
            let mut fields = vec![
                ("mode", Node::text("ingress", item.span)),
                ("target", Node::scalar(Leaf::Int(target.into()), target.to_string(), span)),
            ];
            if let Some(published) = published(index) {
                fields.push(("published", Node::text(published, item.part(parts.host.clone()))));
            }
            if !parts.host_ip.is_empty() {
                fields.push(("host_ip", item.slice(parts.host_ip.clone())));
            }
            let protocol = match &text[parts.protocol.clone()] {
                "" => Node::text("tcp", item.span),
                word => Node::text(word.to_ascii_lowercase(), item.part(parts.protocol.clone())),
            };
            fields.push(("protocol", protocol));
            Node::mapping(fields, item.span)
        })
        .collect()
}

/// The address before the ports and the protocol behind them.
fn check_ends(item: &Node, text: &str, parts: &Short, cx: &mut Cx<'_>) -> bool {
    let address = &text[parts.host_ip.clone()];
    let bare = address.contains(':') && !text.starts_with('[');
    if !address.is_empty() && (bare || !is_address(address)) {
        let span = item.part(parts.host_ip.clone());
        if is_address(address) {
            let message = format!("the address `{address}` has no brackets");
            let problem = Problem::error(Code::InvalidValue, span, message);
            let problem = problem.reason("its colons cannot be told from those in front of the ports");
            cx.push(problem.help("put it in brackets").patch(span, format!("[{address}]")));
            return false;
        }
        let problem = Problem::error(Code::InvalidValue, span, format!("`{address}` is not an IP address"));
        if address == "localhost" {
            cx.push(problem.nearest(span, Some("127.0.0.1")));
            return false;
        }
        let help = "write an address of the host, such as `127.0.0.1`; IPv6 goes in brackets";
        cx.push(problem.help(help));
        return false;
    }
    let protocol = &text[parts.protocol.clone()];
    if !protocol.is_empty() && !PROTOCOLS.contains(&protocol.to_ascii_lowercase().as_str()) {
        let span = item.part(parts.protocol.clone());
        let problem = Problem::error(Code::InvalidValue, span, format!("`{protocol}` is not a protocol"));
        cx.push(match nearest(protocol, PROTOCOLS) {
            Some(near) => problem.nearest(span, Some(near)),
            None if parse_range(protocol).is_some() => meant(problem, item),
            None => problem.help("write `tcp`, `udp` or `sctp`"),
        });
        return false;
    }
    true
}

fn is_address(text: &str) -> bool {
    text.parse::<std::net::IpAddr>().is_ok()
}

/// A port or a range; the empty text is 0 to 0.
fn range(item: &Node, text: &str, part: &Range<usize>, cx: &mut Cx<'_>) -> Option<(u16, u16)> {
    let text = &text[part.clone()];
    if text.is_empty() || text == "0" {
        return Some((0, 0));
    }
    match parse_range(text) {
        Some(range) => Some(range),
        None => {
            let problem =
                Problem::error(Code::InvalidValue, item.part(part.clone()), format!("`{text}` is not a port"));
            let problem = problem.reason("a port is a number from 1 to 65535, or a range such as `8000-8010`");
            cx.push(meant(problem, item));
            None
        }
    }
}

/// What a short form of a port was most likely meant to be.
fn meant(problem: Problem, item: &Node) -> Problem {
    let text = item.as_scalar().map(|scalar| scalar.text.to_string()).unwrap_or_default();
    let is_good = |text: &str| {
        let parts = split(text);
        let good = |part: &Range<usize>| part.is_empty() || parse_range(&text[part.clone()]).is_some();
        let protocol = &text[parts.protocol.clone()];
        !parts.container.is_empty()
            && parts.host_ip.is_empty()
            && good(&parts.container)
            && good(&parts.host)
            && PROTOCOLS.iter().any(|known| protocol.is_empty() || protocol == *known)
    };
    let words = text.replace(char::is_whitespace, "");
    let separated = words.replace("->", ":").replace([';', ',', '='], ":");
    let slash = separated.replace('/', ":");
    let with_protocol = words.rsplit_once(':').map(|(ports, protocol)| format!("{ports}/{protocol}"));
    let with_host = words.rsplit_once('-').filter(|(_, last)| !last.contains(':'));
    let with_host = with_host.map(|(first, last)| format!("{first}:{last}"));
    let blank = text.split_whitespace().collect::<Vec<_>>().join(":");
    let near = [Some(blank), Some(words), Some(separated), with_protocol, Some(slash), with_host].into_iter().flatten();
    // What a variable has made is mended where it is set.
    let here = item.as_scalar().is_some_and(|scalar| !matches!(scalar.layout, Layout::Pieces(_)));
    match near.into_iter().find(|near| here && *near != text && is_good(near)) {
        Some(near) => {
            let whole = if text.is_empty() { item.span } else { item.part(0..text.len()) };
            problem.nearest(whole, Some(&near))
        }
        None => problem.help("write `\"host:container\"`, such as `\"8080:80\"`"),
    }
}

fn parse_range(text: &str) -> Option<(u16, u16)> {
    let port = |text: &str| text.parse::<u16>().ok().filter(|port| *port > 0 && !text.starts_with('+'));
    match text.split_once('-') {
        Some((first, last)) => Some((port(first)?, port(last)?)).filter(|(first, last)| first <= last),
        None => port(text).map(|port| (port, port)),
    }
}

/// Two entries of one identity are the same port. To docker compose a `published` without quotes is never the same as
/// one with them, nor as that of a short form, and an empty one is not the same as none.
fn identity(node: &Node) -> Option<String> {
    // A short form that waits for interpolation.
    if let Some(scalar) = node.as_scalar() {
        return Some(scalar.value.printed(&scalar.text));
    }
    let field = |key: &str, default: &str| {
        let scalar = node.get(key).and_then(Node::as_scalar);
        scalar.map_or_else(|| default.to_owned(), |scalar| scalar.value.printed(&scalar.text))
    };
    let (address, mut published) = (field("host_ip", "0.0.0.0"), field("published", "none"));
    if node.get("published").and_then(Node::as_scalar).is_some_and(|scalar| matches!(scalar.value, Leaf::Int(_))) {
        published.insert_str(0, "int ");
    }
    Some(format!("{address}:{published}:{}/{}", field("target", ""), field("protocol", "tcp")))
}

fn parse(node: &Node, service: &mut Service, cx: &mut Cx<'_>) {
    for item in cx.list(node, "`ports`").unwrap_or_default() {
        if let Some(port) = parse_port(item, cx) {
            service.ports.push(port);
        }
    }
}

fn parse_port(node: &Node, cx: &mut Cx<'_>) -> Option<Port> {
    let fields = node.as_mapping()?;
    let field = |key: &str| fields.get(key).map(|entry| &entry.value).filter(|node| !node.is_null());
    let target = field("target")?;
    let target = cx.integer(target, "`target`", 1..=65535)?;
    let published = match field("published") {
        Some(published) => parse_published(published, cx)?,
        None => HostPort::Any,
    };
    let mut text = |key: &str| field(key).and_then(|node| cx.text(node, &format!("`{key}`")));
    let (host_ip, protocol, mode) = (text("host_ip"), text("protocol"), text("mode"));
    let protocol = match protocol.as_ref().map(|protocol| (protocol.value.to_ascii_lowercase(), protocol.span)) {
        None => Protocol::Tcp,
        Some((word, span)) => match Protocol::named(&word) {
            Some(protocol) => protocol,
            None => {
                let message = format!("`{word}` is not a protocol");
                cx.push(Problem::error(Code::InvalidValue, span, message).help("write `tcp`, `udp` or `sctp`"));
                return None;
            }
        },
    };
    if let Some(mode) = mode.filter(|mode| !matches!(mode.value.as_str(), "ingress" | "host")) {
        let message = format!("`{}` is not a mode of a port", mode.value);
        cx.push(Problem::error(Code::InvalidValue, mode.span, message).help("write `ingress` or `host`"));
    }
    let host_ip = match host_ip.filter(|host_ip| !host_ip.value.is_empty()) {
        None => None,
        Some(host_ip) => match host_ip.value.parse() {
            Ok(address) => Some(address),
            Err(_) => {
                let message = format!("`{}` is not an IP address", host_ip.value);
                let problem = Problem::error(Code::InvalidValue, host_ip.span, message);
                cx.push(problem.help("write an address of the host, such as `127.0.0.1`; IPv6 goes in brackets"));
                return None;
            }
        },
    };
    Some(Port { span: node.span, target: u16::try_from(target.value).unwrap_or(0), published, host_ip, protocol })
}

fn parse_published(node: &Node, cx: &mut Cx<'_>) -> Option<HostPort> {
    let text = cx.any_text(node, "`published`")?.unwrap_or_default();
    match (text.as_str(), parse_range(&text)) {
        ("" | "0", _) => Some(HostPort::Any),
        (_, Some((first, last))) => Some(HostPort::Range(first, last)),
        (_, None) => {
            let problem = Problem::error(Code::InvalidValue, node.span, format!("`{text}` is not a port"));
            cx.push(problem.reason("a port is a number from 1 to 65535, or a range such as `\"8000-8010\"`"));
            None
        }
    }
}

fn lower(from: &Lowering<'_>, to: &mut model::Service) {
    // A network may say where its ports are published.
    let networks = from.service.networks.iter().flatten().map(|(name, _)| name.as_str());
    let networks = networks.chain(from.service.uses_default_network().then_some("default"));
    let bound = networks.filter_map(|name| from.project.networks.get(name)?.host_ip).next();
    let spec = |port: &Port| PortSpec {
        target: port.target,
        published: port.published,
        host_ip: port.host_ip.or(bound),
        protocol: port.protocol,
    };
    let mut ports: Vec<PortSpec> = Vec::new();
    for port in from.service.ports.iter().map(spec) {
        // Written twice is published once.
        if !ports.contains(&port) {
            ports.push(port);
        }
    }
    to.container.ports = ports;
}

#[cfg(test)]
mod tests {
    use crate::testing::{Files, errors, service};

    /// `target<-address:published/protocol`
    fn ports(text: &str) -> Vec<String> {
        let ports = service(&format!("ports: {text}")).container.ports;
        let line = |port: stack_model::PortSpec| {
            let address = port.host_ip.map_or(String::new(), |address| format!("{address} "));
            let published = match port.published {
                stack_model::HostPort::Any => "any".to_owned(),
                stack_model::HostPort::Range(first, last) if first == last => first.to_string(),
                stack_model::HostPort::Range(first, last) => format!("{first}-{last}"),
            };
            format!("{}<-{address}{published}/{:?}", port.target, port.protocol)
        };
        ports.into_iter().map(line).collect()
    }

    #[test]
    fn short_forms() {
        for (text, expected) in [
            ("[80]", vec!["80<-any/Tcp"]),
            ("['80']", vec!["80<-any/Tcp"]),
            ("['8080:80']", vec!["80<-8080/Tcp"]),
            ("[22:22]", vec!["22<-22/Tcp"]),
            ("['53:53/udp']", vec!["53<-53/Udp"]),
            ("['127.0.0.1:8080:80']", vec!["80<-127.0.0.1 8080/Tcp"]),
            ("['127.0.0.1::80']", vec!["80<-127.0.0.1 any/Tcp"]),
            ("[':80']", vec!["80<-any/Tcp"]),
            ("['[::1]:8080:80']", vec!["80<-::1 8080/Tcp"]),
            ("['3000-3002']", vec!["3000<-any/Tcp", "3001<-any/Tcp", "3002<-any/Tcp"]),
            ("['9090-9091:8080-8081']", vec!["8080<-9090/Tcp", "8081<-9091/Tcp"]),
            ("['8000-9000:80']", vec!["80<-8000-9000/Tcp"]),
            ("['80:80', '80:80']", vec!["80<-80/Tcp"]),
        ] {
            assert_eq!(ports(text), expected, "{text}");
        }
    }

    #[test]
    fn long_forms() {
        assert_eq!(
            ports("[{target: 80, published: '8080', host_ip: 127.0.0.1, protocol: udp, mode: host, name: web}]"),
            ["80<-127.0.0.1 8080/Udp"]
        );
        assert_eq!(ports("[{target: 80, published: 8080}]"), ["80<-8080/Tcp"]);
        assert_eq!(ports("[{target: 80, published: 8080-8090}]"), ["80<-8080-8090/Tcp"]);
        assert_eq!(ports("[{target: '80'}]"), ["80<-any/Tcp"]);
    }

    #[test]
    fn the_caret_stands_inside_the_short_form() {
        assert_eq!(
            errors("ports: ['8080:web']"),
            ["4:19 `web` is not a port; write `\"host:container\"`, such as `\"8080:80\"`"]
        );
        assert_eq!(
            errors("ports: ['8080:99999/tcp']"),
            ["4:19 `99999` is not a port; write `\"host:container\"`, such as `\"8080:80\"`"]
        );
        assert_eq!(errors("ports: ['80:80/tpc']"), ["4:20 `tpc` is not a protocol; did you mean `tcp`?"]);
        assert_eq!(
            errors("ports: ['localhost:80:80']"),
            ["4:14 `localhost` is not an IP address; did you mean `127.0.0.1`?"]
        );
        assert_eq!(
            errors("ports: ['80-82:80-81']"),
            ["4:14 3 ports of the host for 2 ports of the container; give both ranges the same length"]
        );
        assert_eq!(
            errors("ports: ['80:']"),
            ["4:13 no container port in `80:`; write `\"host:container\"`, such as `\"8080:80\"`"]
        );
    }

    #[test]
    fn what_was_most_likely_meant_is_said() {
        for (written, meant) in [
            ("8080;80", "8080:80"),
            ("8080,80", "8080:80"),
            ("8080 80", "8080:80"),
            ("8080-80", "8080:80"),
            ("8080->80/tcp", "8080:80/tcp"),
            ("8080/80", "8080:80"),
            ("8080:80:tcp", "8080:80/tcp"),
        ] {
            let errors = errors(&format!("ports: ['{written}']")).concat();
            assert!(errors.ends_with(&format!("; did you mean `{meant}`?")), "{written}: {errors}");
        }
    }

    #[test]
    fn the_caret_stands_on_the_variable() {
        let text = "services:\n  a:\n    image: i\n    ports: ['127.0.0.1:80:${WEB-eighty}']\n";
        assert_eq!(
            Files::new(text).errors(),
            ["4:27 `eighty` is not a port; write `\"host:container\"`, such as `\"8080:80\"`"]
        );
    }

    #[test]
    fn other_shapes_are_refused() {
        assert_eq!(
            errors("ports: 8080:80"),
            ["4:12 `ports` must be a list, not the text `8080:80`; write it as an item of a list"]
        );
        assert_eq!(
            errors("ports: [{target: 80, publish: 8080}]"),
            ["4:26 unknown key `publish` in an item of `ports`; did you mean `published`?"]
        );
        assert_eq!(errors("ports: [{published: 80}]"), ["4:13 an item of `ports` needs `target`; add `target: …`"]);
        assert_eq!(ports("['80:80/sctp']"), ["80<-80/Sctp"]);
    }

    #[test]
    fn override_files_add_ports_and_repeat_none() {
        let files = Files::new("services:\n  a: {image: i, ports: ['80:80']}\n");
        let files = files.with("compose.override.yaml", "services:\n  a: {ports: ['81:80', '80:80']}\n");
        assert_eq!(files.service("a").container.ports.len(), 2);
    }
}
