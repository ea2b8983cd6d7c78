//! `label_file`: files with labels; `labels` wins over them.

use std::collections::BTreeMap;

use super::ServiceKey;
use super::forms::before_equals;
use crate::context::{Cx, read_problem};
use crate::dotenv;
use crate::service::Service;
use crate::shape::Merge;
use crate::shape::common::ONE_OR_TEXTS;

pub(super) const KEY: ServiceKey =
    ServiceKey::new("label_file", "Files with labels; `labels` wins over them.", &ONE_OR_TEXTS)
        .merge(Merge::Unique(before_equals))
        .hidden()
        .parse(|node, service, cx| {
            let directory = cx.directory.clone();
            let paths = cx.texts(node, "`label_file`").unwrap_or_default();
            service.label_file =
                paths.into_iter().map(|path| path.map(|path| cx.absolute(&directory, &path))).collect();
        });

/// Reads the files of a service and puts what they say below its `labels`.
pub(crate) fn resolve(service: &mut Service, cx: &mut Cx<'_>) {
    let written: Vec<String> = service.labels.keys().cloned().collect();
    // Labels of earlier files can be used in later ones; the project's variables cannot.
    let mut read: BTreeMap<String, String> = BTreeMap::new();
    for path in &service.label_file {
        if !cx.exists(&path.value) {
            cx.push(read_problem(&path.value, path.span, &std::io::ErrorKind::NotFound.into()));
            continue;
        }
        let Some((id, text)) = cx.read_text(&path.value, path.span) else { continue };
        let parsed = dotenv::parse(&text, &|name| read.get(name).cloned(), &|_| None);
        super::report_mistakes(&parsed, id, cx);
        read.extend(parsed.variables.into_iter().filter_map(|variable| Some((variable.name, variable.value?))));
    }
    for (name, value) in read {
        if !written.contains(&name) {
            service.labels.insert(name, value);
        }
    }
}
