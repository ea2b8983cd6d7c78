//! `tmpfs`: memory as a directory, `path[:option,option]`.

use super::ServiceKey;
use super::forms::before_equals;
use crate::context::Cx;
use crate::decode::not_yet;
use crate::report::{Code, Problem};
use crate::service::{Service, Tmpfs};
use crate::shape::Merge;
use crate::shape::common::TEXT_OR_TEXTS;
use crate::units::parse_bytes;
use crate::yaml::Node;

pub(super) const KEY: ServiceKey =
    ServiceKey::new("tmpfs", "Directories in memory: `path[:option,option]`.", &TEXT_OR_TEXTS)
        .merge(Merge::Unique(before_equals))
        .parse(parse);

fn parse(node: &Node, service: &mut Service, cx: &mut Cx<'_>) {
    for item in cx.list(node, "`tmpfs`").unwrap_or_default() {
        if let Some(tmpfs) = parse_entry(item, cx) {
            service.tmpfs.push(tmpfs);
        }
    }
}

fn parse_entry(item: &Node, cx: &mut Cx<'_>) -> Option<Tmpfs> {
    let text = cx.text(item, "an item of `tmpfs`")?;
    let path_end = text.value.find(':').unwrap_or(text.value.len());
    let path = &text.value[..path_end];
    if !path.starts_with('/') {
        let span = item.part(0..path_end);
        let problem = Problem::error(Code::InvalidValue, span, format!("`{path}` is not an absolute path"));
        cx.push(problem.help("a path inside the container begins with `/`"));
        return None;
    }
    let mut tmpfs = Tmpfs { span: text.span, target: clean_target(path), size: None, mode: None, read_only: false };
    let mut at = path_end + 1;
    for option in text.value.get(at..).unwrap_or_default().split(',').filter(|option| !option.is_empty()) {
        let range = at..at + option.len();
        at = range.end + 1;
        parse_option(option, &mut tmpfs, item, range, cx);
    }
    Some(tmpfs)
}

fn parse_option(option: &str, tmpfs: &mut Tmpfs, item: &Node, at: std::ops::Range<usize>, cx: &mut Cx<'_>) {
    match option.split_once('=').unwrap_or((option, "")) {
        ("size", size) => match parse_bytes(size) {
            Ok(bytes) => tmpfs.size = Some(bytes),
            Err(_) => cx.push(Problem::error(Code::InvalidValue, item.part(at), format!("`{size}` is not a size"))),
        },
        ("mode", mode) => match u32::from_str_radix(mode, 8).ok().filter(|mode| *mode <= 0o7777) {
            Some(mode) => tmpfs.mode = Some(mode),
            None => {
                let message = format!("`{mode}` is not a mode in octal digits");
                cx.push(Problem::error(Code::InvalidValue, item.part(at), message));
            }
        },
        ("ro", "") => tmpfs.read_only = true,
        // What every temporary filesystem of a container is.
        ("rw" | "noexec" | "nosuid" | "nodev", "") => {}
        (name, _) => cx.push(not_yet(item.part(at), &format!("the option `{name}` of `tmpfs`"))),
    }
}

/// A path inside the container without `.`, `..`, doubled and final slashes.
pub(super) fn clean_target(path: &str) -> String {
    crate::context::clean(std::path::Path::new(path)).to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use stack_model::{Bytes, Mount, MountSource};

    use crate::testing::{errors, service};

    #[test]
    fn a_path_and_its_options() {
        let mounts = service("tmpfs: ['/run', '/tmp/:size=16M,mode=1777,ro,noexec']").container.mounts;
        let tmpfs = |size, mode| MountSource::Tmpfs { size, mode };
        let mount = |source, target: &str, read_only| Mount { source, target: target.to_owned(), read_only };
        assert_eq!(mounts[0], mount(tmpfs(None, None), "/run", false));
        assert_eq!(mounts[1], mount(tmpfs(Some(Bytes(16 << 20)), Some(0o1777)), "/tmp", true));
        assert_eq!(service("tmpfs: /run").container.mounts.len(), 1);
    }

    #[test]
    fn mistakes_are_shown_inside_the_text() {
        assert_eq!(errors("tmpfs: /run:size=x"), ["4:17 `x` is not a size"]);
        assert_eq!(errors("tmpfs: '/run:mode=9'"), ["4:18 `9` is not a mode in octal digits"]);
        assert_eq!(errors("tmpfs: /run:mode=700,uid=5"), ["4:26 the option `uid` of `tmpfs` is not supported yet"]);
        assert_eq!(
            errors("tmpfs: run"),
            ["4:12 `run` is not an absolute path; a path inside the container begins with `/`"]
        );
    }
}
