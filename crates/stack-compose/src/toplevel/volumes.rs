//! `volumes`: data that outlives containers.

use indexmap::IndexMap;
use stack_model::ProjectName;

use super::{EXTERNAL, expand_external, real_name, section, section_of};
use crate::context::Cx;
use crate::decode::not_yet;
use crate::keys::labels_of;
use crate::project::Volume;
use crate::report::{Code, Problem};
use crate::shape::common::{LABELS, OPTIONS, TEXT};
use crate::shape::{Field, Forms, Names, Object, Shape};
use crate::yaml::{Entry, Mapping, Node};

pub(super) const VOLUMES: Shape = section_of(&Shape::Nullable(&VOLUME), "volume", Names::Resource);
const VOLUME: Shape = Shape::Forms(Forms::new(&LONG, &[], expand_external));
const LONG: Shape = Shape::Object(&Object::new(&[
    Field::new("name", "Name of its own, without that of the project before it.", &TEXT),
    Field::new("driver", "Driver; `local` by default.", &TEXT),
    Field::new("driver_opts", "Options of the driver.", &OPTIONS),
    Field::new("external", "Made and removed by someone else.", &EXTERNAL),
    Field::new("labels", "Labels.", &LABELS),
]));

/// The top-level `volumes`.
pub(crate) fn volumes(root: &Mapping, project: &ProjectName, cx: &mut Cx<'_>) -> IndexMap<String, Volume> {
    let mut volumes = IndexMap::new();
    for (key, entry) in section(root, "volumes") {
        volumes.insert(key.to_owned(), volume(key, entry, project, cx));
    }
    volumes
}

fn volume(key: &str, entry: &Entry, project: &ProjectName, cx: &mut Cx<'_>) -> Volume {
    let mut volume = Volume { span: entry.key, name: format!("{project}_{key}"), ..Volume::default() };
    if entry.value.is_null() {
        return volume;
    }
    let Some(fields) = entry.value.as_mapping() else { return volume };
    if let Some(external) = fields.get("external") {
        volume.external = cx.boolean(&external.value, "`external`").unwrap_or(false);
    }
    if volume.external {
        key.clone_into(&mut volume.name);
    }
    if let Some(name) = real_name(fields, cx) {
        volume.name = name;
    }
    if let Some(driver) = fields.get("driver").and_then(|entry| cx.text(&entry.value, "`driver`")) {
        if driver.value != "local" && !driver.value.is_empty() {
            cx.push(not_yet(driver.span, &format!("the volume driver `{}`", driver.value)));
        }
        volume.driver = Some(driver.value);
    }
    if let Some(options) = fields.get("driver_opts").filter(|entry| !entry.value.is_null()) {
        volume.mounted = mounted(&options.value, cx);
    }
    if let Some(labels) = fields.get("labels") {
        volume.labels = labels_of(&labels.value, "`labels`", cx);
    }
    volume
}

/// The options of the driver `local` are those of mount(8): `type`, `device` and `o`.
fn mounted(node: &Node, cx: &mut Cx<'_>) -> Option<(String, String, Vec<String>)> {
    let fields = node.as_mapping()?;
    for (name, entry) in fields {
        if !matches!(&**name, "type" | "device" | "o") {
            let problem = Problem::error(Code::InvalidValue, entry.key, format!("`{name}` is no option of `local`"));
            cx.push(problem.reason("the driver `local` takes `type`, `device` and `o`").help("remove it"));
        }
    }
    let mut text = |key: &str| {
        let entry = fields.get(key).filter(|entry| !entry.value.is_null())?;
        cx.any_text(&entry.value, &format!("`{key}`")).flatten().filter(|text| !text.is_empty())
    };
    let (kind, device, options) = (text("type"), text("device"), text("o").unwrap_or_default());
    let options: Vec<String> = options.split(',').filter(|option| !option.is_empty()).map(str::to_owned).collect();
    let is_bind = options.iter().any(|option| matches!(option.as_str(), "bind" | "rbind"));
    let (Some(device), kind) = (device, kind.unwrap_or_default()) else {
        let problem = Problem::error(Code::MissingKey, node.span, "a volume with options needs `device`");
        cx.push(problem.help("write what is to be mounted, such as `device: /srv/data`"));
        return None;
    };
    if is_bind {
        let directory = cx.directory.clone();
        let device = cx.absolute(&directory, &device).to_string_lossy().into_owned();
        return Some(("bind".to_owned(), device, options));
    }
    if kind.is_empty() || kind == "none" {
        let problem = Problem::error(Code::MissingKey, node.span, "a volume with a `device` needs `type`");
        cx.push(problem.help("write the filesystem, such as `type: nfs`, or `o: bind` for a directory"));
        return None;
    }
    if kind == "tmpfs" {
        let problem = not_yet(node.span, "a volume of type `tmpfs`");
        cx.push(problem.help("give the service a `tmpfs` of its own"));
        return None;
    }
    Some((kind, device, options))
}
