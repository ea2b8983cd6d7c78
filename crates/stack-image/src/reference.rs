//! Image references by the rules of Docker: `[registry[:port]/]path[:tag][@digest]`.

use std::fmt;
use std::net::IpAddr;

use crate::digest::Digest;

/// A reference with every default filled in.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Reference {
    registry: String,
    repository: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

/// A text that names no image.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not an image reference: {reason}")]
pub struct InvalidReference {
    /// The text as given.
    pub text: String,
    /// The rule it breaks.
    pub reason: &'static str,
}

/// The registry that a reference without one means.
const DEFAULT_REGISTRY: &str = "docker.io";
/// The folder of the default registry that a reference without one means.
const DEFAULT_FOLDER: &str = "library";
/// The tag that a reference without tag and digest means.
const DEFAULT_TAG: &str = "latest";
/// Longest repository with its registry (distribution, `reference.NameTotalLengthMax`).
const NAME_LENGTH_MAX: usize = 255;
/// Longest tag (OCI distribution-spec, "pulling manifests").
const TAG_LENGTH_MAX: usize = 128;

impl Reference {
    /// Parses and fills in the defaults: `nginx` is `docker.io/library/nginx:latest`.
    ///
    /// # Errors
    /// [`InvalidReference`] with the broken rule.
    pub fn parse(text: &str) -> Result<Self, InvalidReference> {
        parse(text).map_err(|reason| InvalidReference { text: text.to_owned(), reason })
    }

    /// Host and port of the registry.
    pub fn registry(&self) -> &str {
        &self.registry
    }

    /// The path in the registry.
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// The tag, unless a digest makes it meaningless.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    pub(crate) fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    /// The registry is this machine, the only place that is spoken to without TLS.
    pub fn is_loopback(&self) -> bool {
        is_loopback(&self.registry)
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.registry, self.repository)?;
        match (&self.digest, &self.tag) {
            (Some(digest), _) => write!(f, "@{digest}"),
            (None, Some(tag)) => write!(f, ":{tag}"),
            (None, None) => Ok(()),
        }
    }
}

fn parse(text: &str) -> Result<Reference, &'static str> {
    if text.is_empty() {
        return Err("it is empty");
    }
    let (name, digest) = match text.split_once('@') {
        Some((name, digest)) => {
            (name, Some(Digest::parse(digest).map_err(|_| "the digest must be `sha256:` and 64 digits 0-9 a-f")?))
        }
        None => (text, None),
    };
    let (name, tag) = split_tag(name);
    if tag.is_some_and(|tag| !is_tag(tag)) {
        return Err("the tag must be at most 128 letters, digits, `_`, `.`, `-`, and not begin with `.` or `-`");
    }
    let (registry, repository) = split_registry(name)?;
    if registry.len() + 1 + repository.len() > NAME_LENGTH_MAX {
        return Err("the name is longer than 255 characters");
    }
    let tag = match &digest {
        Some(_) => None,
        None => Some(tag.unwrap_or(DEFAULT_TAG).to_owned()),
    };
    Ok(Reference { registry, repository, tag, digest })
}

/// A colon after the last slash begins a tag; one before it belongs to a port.
fn split_tag(name: &str) -> (&str, Option<&str>) {
    match name.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => (name, Some(tag)),
        _ => (name, None),
    }
}

fn split_registry(name: &str) -> Result<(String, String), &'static str> {
    let looks_like_host = |first: &str| first == "localhost" || first.contains(['.', ':']);
    let (registry, path) = match name.split_once('/') {
        Some((first, rest)) if looks_like_host(first) => (first, rest),
        _ => (DEFAULT_REGISTRY, name),
    };
    if !is_host(registry) {
        return Err("the registry is not a host name with an optional port");
    }
    if path.chars().any(|c| c.is_ascii_uppercase()) {
        return Err("the path must be lower case");
    }
    if !path.split('/').all(is_path_component) {
        return Err("the path must be words of a-z 0-9, joined by `.`, `_`, `__` or `-`, separated by `/`");
    }
    if registry != DEFAULT_REGISTRY && registry != "index.docker.io" {
        return Ok((registry.to_owned(), path.to_owned()));
    }
    let is_hex = path.len() == 64 && path.bytes().all(|byte| byte.is_ascii_hexdigit());
    if is_hex {
        return Err("64 hexadecimal digits are an image id, not a name");
    }
    let repository = if path.contains('/') { path.to_owned() } else { format!("{DEFAULT_FOLDER}/{path}") };
    Ok((DEFAULT_REGISTRY.to_owned(), repository))
}

fn is_host(registry: &str) -> bool {
    let (host, port) = match registry.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (registry, None),
    };
    let is_port = |port: &str| port.parse::<u16>().is_ok_and(|port| port > 0) && !port.starts_with('+');
    let is_label = |label: &str| {
        let inner = label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        inner && !label.is_empty() && !label.starts_with('-') && !label.ends_with('-')
    };
    let is_name = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => host.split('.').all(is_label),
    };
    is_name && port.is_none_or(is_port)
}

/// `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*`
fn is_path_component(component: &str) -> bool {
    let is_word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let allowed = component.chars().all(|c| is_word(c) || matches!(c, '.' | '_' | '-'));
    let separators = component.split(is_word).filter(|separator| !separator.is_empty());
    let joined = separators
        .into_iter()
        .all(|separator| matches!(separator, "." | "_" | "__") || separator.chars().all(|c| c == '-'));
    allowed && joined && component.starts_with(is_word) && component.ends_with(is_word)
}

fn is_tag(tag: &str) -> bool {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    tag.len() <= TAG_LENGTH_MAX && tag.starts_with(is_word) && tag.chars().all(|c| is_word(c) || matches!(c, '.' | '-'))
}

pub(crate) fn is_loopback(registry: &str) -> bool {
    let host = match registry.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => host,
        _ => registry,
    };
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || bare.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn canonical(text: &str) -> String {
        Reference::parse(text)
            .map_or_else(|error| format!("error: {}", error.reason), |reference| reference.to_string())
    }

    #[test]
    fn defaults_are_those_of_docker() {
        let hex = "a".repeat(64);
        let table = [
            ("nginx", "docker.io/library/nginx:latest"),
            ("nginx:1.29", "docker.io/library/nginx:1.29"),
            ("bitnami/redis", "docker.io/bitnami/redis:latest"),
            ("docker.io/nginx", "docker.io/library/nginx:latest"),
            ("index.docker.io/nginx", "docker.io/library/nginx:latest"),
            ("localhost/a", "localhost/a:latest"),
            ("localhost:5000/a:1", "localhost:5000/a:1"),
            ("127.0.0.1:5000/shop/nginx:1", "127.0.0.1:5000/shop/nginx:1"),
            ("[::1]:5000/a", "[::1]:5000/a:latest"),
            ("ghcr.io/a/b/c_d__e-f---g.h:V1_x", "ghcr.io/a/b/c_d__e-f---g.h:V1_x"),
            ("stack.local/self", "stack.local/self:latest"),
        ];
        for (text, expected) in table {
            assert_eq!(canonical(text), expected);
        }
        assert_eq!(canonical(&format!("a:1@sha256:{hex}")), format!("docker.io/library/a@sha256:{hex}"));
    }

    #[test]
    fn what_docker_refuses_is_refused() {
        let bad = [
            "",
            "UPPER/x",
            "a/Upper",
            "Nginx",
            "a//b",
            "/a",
            "a/",
            "a:",
            "a:-x",
            "a b",
            "a..b/c",
            "a/b..c",
            "a___b/c",
            "-a/b",
            "a.b:0/c",
            "a.b:99999/c",
            "a.b:x/c",
            "http://a/b",
            "a@sha256:00",
            "a@sha512:00",
            "a@",
            "_a",
            "a_",
            "../a",
            "[::1/a",
            "é/a",
        ];
        for text in bad {
            assert!(Reference::parse(text).is_err(), "{text} gave {}", canonical(text));
        }
        assert!(Reference::parse(&"a".repeat(64)).is_err());
        assert!(Reference::parse(&"b".repeat(300)).is_err());
        assert!(Reference::parse(&format!("a:{}", "t".repeat(129))).is_err());
    }

    #[test]
    fn only_loopback_is_spoken_to_in_the_clear() {
        let is_loopback = |text: &str| Reference::parse(text).unwrap().is_loopback();
        for local in ["localhost/a", "localhost:5000/a", "127.0.0.1:5000/a", "127.8.9.1/a", "[::1]:5000/a"] {
            assert!(is_loopback(local), "{local}");
        }
        for remote in ["nginx", "127.0.0.1.example.com/a", "localhost.example.com/a", "10.0.0.1:5000/a"] {
            assert!(!is_loopback(remote), "{remote}");
        }
    }
}
