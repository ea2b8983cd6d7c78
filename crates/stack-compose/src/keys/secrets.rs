//! `secrets`: files that are shown below `/run/secrets`.

use super::configs::{FILES, check_references, lower_files, parse_files, target_of};
use stack_model::FileKind;

use super::ServiceKey;
use crate::shape::Merge;

pub(super) const KEY: ServiceKey = ServiceKey::new("secrets", "Secrets that the container sees as files.", &FILES)
    .merge(Merge::Unique(|node| target_of(node, FileKind::Secret)))
    .parse(|node, service, cx| service.secrets = parse_files(node, "`secrets`", FileKind::Secret, cx))
    .check(|service, project, report| check_references(service, &service.secrets, ("secret", &project.secrets), report))
    .lower(|from, to| {
        // `configs` come first in the order of the keys.
        to.container.files.extend(lower_files(&from.service.secrets, &from.project.secrets));
    });

#[cfg(test)]
mod tests {
    use stack_model::FileKind;

    use crate::testing::Files;

    const COMPOSE: &str = "services:\n  a:\n    image: i\n    secrets:\n      - one\n      - {source: two, target: \
                           renamed, uid: '1000', gid: '1000', mode: 0400}\n      - {source: two, target: /etc/two}\n\
                           secrets:\n  one: {file: ./one.txt}\n  two: {file: /elsewhere/two.txt}\n";

    #[test]
    fn short_and_long_forms_are_lowered_with_a_fingerprint_of_the_content() {
        let files = Files::new(COMPOSE).with("one.txt", "1").with("/elsewhere/two.txt", "2");
        let mounts = files.clone().service("a").container.files;
        assert!(mounts.iter().all(|mount| mount.kind == FileKind::Secret));
        let targets: Vec<&str> = mounts.iter().map(|mount| mount.target.as_str()).collect();
        assert_eq!(targets, ["/run/secrets/one", "/run/secrets/renamed", "/etc/two"]);
        assert_eq!((mounts[0].uid, mounts[0].gid, mounts[0].mode), (0, 0, 0o444));
        assert_eq!((mounts[1].uid, mounts[1].gid, mounts[1].mode), (1000, 1000, 0o400));
        assert_eq!(mounts[0].source, std::path::Path::new("/p/one.txt"));
        assert_ne!(mounts[0].content, mounts[1].content);
        let edited = files.with("one.txt", "other").service("a").container.files;
        assert_ne!(edited[0].content, mounts[0].content);
        assert_eq!(edited[1].content, mounts[1].content);
    }

    #[test]
    fn a_missing_file_is_an_error_where_it_is_named() {
        let loaded = Files::new(COMPOSE).with("/elsewhere/two.txt", "2").load();
        let messages: Vec<String> = loaded.diagnostics.iter().map(ToString::to_string).collect();
        assert_eq!(messages, ["compose.yaml:9:15: /p/one.txt does not exist"]);
        assert!(!loaded.texts.values().any(|text| text == "2"), "a secret is not among the texts");
    }

    #[test]
    fn references_are_checked() {
        let text = "services:\n  a: {image: i, secrets: [tokn]}\nsecrets: {token: {file: t}}\n";
        assert_eq!(
            Files::new(text).with("t", "").errors(),
            ["2:27 service `a` refers to undefined secret `tokn`; did you mean `token`?"]
        );
    }
}
