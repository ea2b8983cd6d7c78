//! `.dockerignore`: patterns from the root of the context, the last one that matches counts.

use crate::glob::Pattern;

/// What a context leaves out.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ignore {
    rules: Vec<Rule>,
    has_exceptions: bool,
}

#[derive(Debug, Clone)]
struct Rule {
    pattern: Pattern,
    /// `!`: it is in after all.
    exception: bool,
}

impl Ignore {
    pub(crate) fn parse(text: &str) -> Self {
        let mut rules = Vec::new();
        for line in text.strip_prefix('\u{feff}').unwrap_or(text).lines() {
            let line = if line.starts_with('#') { "" } else { line.trim() };
            let (line, exception) = match line.strip_prefix('!') {
                Some(rest) => (rest.trim(), true),
                None => (line, false),
            };
            if let Some(path) = clean(line) {
                rules.push(Rule { pattern: Pattern::path(&path), exception });
            }
        }
        let has_exceptions = rules.iter().any(|rule| rule.exception);
        Self { rules, has_exceptions }
    }

    /// A path relative to the context, with slashes. A pattern that matches a directory matches all that is in it.
    pub(crate) fn excludes(&self, path: &str) -> bool {
        let mut excluded = false;
        for rule in &self.rules {
            if rule.exception == excluded && Self::concerns(rule, path) {
                excluded = !rule.exception;
            }
        }
        excluded
    }

    fn concerns(rule: &Rule, path: &str) -> bool {
        let ends = path.match_indices('/').map(|(index, _)| index).chain([path.len()]);
        ends.into_iter().any(|end| rule.pattern.matches(&path[..end]))
    }

    /// Nothing below an excluded directory can be in.
    pub(crate) fn prunes(&self, directory: &str) -> bool {
        !self.has_exceptions && self.excludes(directory)
    }
}

/// As Go's `filepath.Clean`, without a leading slash; `None` for nothing.
fn clean(line: &str) -> Option<String> {
    let mut parts: Vec<&str> = Vec::new();
    for part in line.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    (!parts.is_empty()).then(|| parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_rule_counts_and_directories_take_their_content_along() {
        let ignore = Ignore::parse("# c\n*.md\n!README.md\nnode_modules\n/dist/\n**/*.tmp\nsub/*\n!sub/keep\n");
        for (path, excluded) in [
            ("a.md", true),
            ("README.md", false),
            ("x/a.md", false),
            ("node_modules", true),
            ("node_modules/a/b", true),
            ("x/node_modules", false),
            ("dist/a", true),
            ("x/y.tmp", true),
            ("sub/a", true),
            ("sub/keep", false),
            ("sub/keep/x", false),
        ] {
            assert_eq!(ignore.excludes(path), excluded, "{path}");
        }
        let all = Ignore::parse("*\n! src\n");
        assert!(all.excludes("a") && !all.excludes("src") && !all.excludes("src/x"));
        assert!(!all.prunes("a") && Ignore::parse("a").prunes("a/b"));
        assert!(!Ignore::parse("").excludes("a"));
    }
}
