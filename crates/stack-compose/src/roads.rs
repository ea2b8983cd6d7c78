//! How a value came into the project: the `extends` and `include` lines that lead to the place where it stands.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use crate::text::{FileId, Span};
use crate::yaml::Mapping;

/// What leads from one place to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// A service begins as a copy of another.
    Extends,
    /// A file takes another one in.
    Include,
}

impl std::fmt::Display for Way {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Extends => "extends",
            Self::Include => "include",
        })
    }
}

/// The beginning of a service: its name and where that stands.
type Service = (Arc<str>, Span);

/// Every road of one load.
#[derive(Debug, Clone, Default)]
pub(crate) struct Roads {
    services: HashMap<FileId, BTreeMap<u32, Service>>,
    /// Files that are read for themselves, and not only because a service of theirs is extended.
    own: BTreeSet<FileId>,
    /// Where a service is named that is extended, and where it begins.
    extended: Vec<(Span, Span)>,
    included: HashMap<FileId, Span>,
}

impl Roads {
    /// Services of a file as they are written.
    pub(crate) fn note_services(&mut self, services: &Mapping, own: bool) {
        for (name, entry) in services {
            let key = entry.key;
            self.services.entry(key.file).or_default().insert(key.start, (Arc::clone(name), key));
            if own {
                self.own.insert(key.file);
            }
        }
    }

    pub(crate) fn note_extended(&mut self, at: Span, base: Span) {
        self.extended.push((at, base));
    }

    pub(crate) fn note_included(&mut self, file: FileId, at: Span) {
        self.included.entry(file).or_insert(at);
    }

    /// What leads to a value of a service, or of anything else: the last step first.
    pub(crate) fn lead_to(&self, service: Option<&str>, value: Span) -> Vec<(Way, Span)> {
        let copies = service.and_then(|name| self.copies(name, value, &mut Vec::new())).unwrap_or_default();
        let file = copies.last().map_or(value, |(_, at)| *at).file;
        let includes = std::iter::successors(self.included.get(&file), |at| self.included.get(&at.file));
        // Files do not include one another in a circle; the limit only guards against a mistake in that.
        let includes = includes.take(self.included.len()).map(|at| (Way::Include, *at));
        copies.into_iter().chain(includes).collect()
    }

    /// The steps from a place back to the service of the project; `None` when they do not lead there.
    fn copies(&self, name: &str, place: Span, seen: &mut Vec<Span>) -> Option<Vec<(Way, Span)>> {
        let (here, key) = self.service_at(place)?;
        if &**here == name && self.own.contains(&key.file) {
            return Some(Vec::new());
        }
        if seen.contains(key) {
            return None;
        }
        seen.push(*key);
        let steps = self.extended.iter().filter(|(_, base)| base == key);
        steps.into_iter().find_map(|(at, _)| {
            let mut rest = self.copies(name, *at, seen)?;
            rest.insert(0, (Way::Extends, *at));
            Some(rest)
        })
    }

    /// The service that a place belongs to: the last one that begins before it.
    fn service_at(&self, place: Span) -> Option<&Service> {
        self.services.get(&place.file)?.range(..=place.start).next_back().map(|(_, service)| service)
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::Files;

    #[test]
    fn every_step_on_the_way_to_a_value_is_known() {
        let files =
            Files::new("include: [sub/inc.yaml]\nservices:\n  web: {extends: {file: base.yaml, service: web}}\n");
        let files = files
            .with("base.yaml", "services:\n  web: {extends: root, image: b}\n  root: {user: '1', image: r}\n")
            .with(
                "sub/inc.yaml",
                "services:\n  db: {extends: one, user: '2', volumes: ['data:/v']}\n  one: {image: db}\nvolumes: {data: }\n",
            );
        let project = files.project();
        let ways = |path: &str| {
            let ways = project.why(path).remove(0).ways.into_iter();
            ways.map(|(way, origin)| format!("{way} {origin}")).collect::<Vec<_>>()
        };
        assert_eq!(ways("services.web.image"), ["extends compose.yaml:3:45"]);
        assert_eq!(ways("services.web.user"), ["extends base.yaml:2:18", "extends compose.yaml:3:45"]);
        assert_eq!(ways("services.db.image"), ["extends sub/inc.yaml:2:17", "include compose.yaml:1:11"]);
        assert_eq!(ways("services.db.user"), ["include compose.yaml:1:11"]);
        assert_eq!(ways("volumes"), ["include compose.yaml:1:11"]);
    }
}
