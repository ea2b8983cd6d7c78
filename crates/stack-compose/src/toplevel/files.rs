//! `secrets` and `configs`: files that services see.

use std::path::PathBuf;

use indexmap::IndexMap;

use super::{EXTERNAL, expand_external, real_name, section, section_of};
use crate::context::Cx;
use crate::project::FileSource;
use crate::shape::common::{LABELS, OPTIONS, TEXT};
use crate::shape::{Field, Forms, Names, Object, Shape};
use crate::text::Spanned;
use crate::yaml::Mapping;

pub(super) const SECRETS: Shape = section_of(&SECRET, "secret", Names::Resource);
const SECRET: Shape = Shape::Forms(Forms::new(&SECRET_LONG, &[], expand_external));
const SECRET_LONG: Shape = Shape::Object(&Object::new(&[
    Field::new("name", "Name of its own.", &TEXT),
    Field::new("file", "File that holds it.", &TEXT),
    Field::new("environment", "Variable that holds it.", &TEXT),
    Field::new("external", "Made by someone else.", &EXTERNAL),
    Field::new("labels", "Labels.", &LABELS),
    Field::new("driver", "Driver.", &TEXT),
    Field::new("driver_opts", "Options of the driver.", &OPTIONS),
    Field::new("template_driver", "Driver for templates.", &TEXT),
]));

pub(super) const CONFIGS: Shape = section_of(&CONFIG, "config", Names::Resource);
const CONFIG: Shape = Shape::Forms(Forms::new(&CONFIG_LONG, &[], expand_external));
const CONFIG_LONG: Shape = Shape::Object(&Object::new(&[
    Field::new("name", "Name of its own.", &TEXT),
    Field::new("file", "File that holds it.", &TEXT),
    Field::new("environment", "Variable that holds it.", &TEXT),
    Field::new("content", "What it is.", &TEXT),
    Field::new("external", "Made by someone else.", &EXTERNAL),
    Field::new("labels", "Labels.", &LABELS),
    Field::new("template_driver", "Driver for templates.", &TEXT),
]));

/// The top-level `secrets` or `configs`.
pub(crate) fn files(root: &Mapping, section_name: &str, cx: &mut Cx<'_>) -> IndexMap<String, FileSource> {
    let mut files = IndexMap::new();
    for (key, entry) in section(root, section_name) {
        let Some(fields) = entry.value.as_mapping() else { continue };
        real_name(fields, cx);
        let path = fields.get("file").and_then(|file| cx.text(&file.value, "`file`"));
        let path = path.map_or_else(Spanned::<PathBuf>::default, |file| {
            let directory = cx.directory.clone();
            file.map(|file| cx.absolute(&directory, &file))
        });
        let text = fields.get("content").filter(|entry| !entry.value.is_null());
        let text = text.and_then(|entry| cx.any_text(&entry.value, "`content`").flatten());
        let variable = fields.get("environment").filter(|entry| !entry.value.is_null());
        let variable = variable.and_then(|entry| cx.text(&entry.value, "`environment`"));
        files.insert(key.to_owned(), FileSource { file: path, text, variable, content: String::new() });
    }
    files
}
