//! What projects ask of this machine: who agreed to what, and what is said about it.

use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use stack_compose::{HostAccess, Project};
use stack_model::{Layout, Trust};

use crate::error::CliError;
use crate::output;

/// Agrees to everything that a project asks for now, and to nothing else.
pub(crate) fn agree(layout: &Layout, project: &Project) -> Result<(), CliError> {
    let wishes = project.host_access().iter().map(HostAccess::wish).collect();
    let trust = Trust { directory: project.directory().to_owned(), wishes };
    let path = path(layout, project);
    write(&path, &trust).map_err(|error| CliError::io(&format!("cannot write {}", path.display()), &error))
}

/// Says what a project asks for that it did not ask for when this was said last.
pub(crate) fn tell(layout: &Layout, project: &Project) -> Result<(), CliError> {
    let known = read(&path(layout, project));
    let is_new = |access: &&HostAccess| !known.covers(project.directory(), &access.wish());
    let new: Vec<&HostAccess> = project.host_access().iter().filter(is_new).collect();
    if new.is_empty() {
        return Ok(());
    }
    let row = |access: &&HostAccess| {
        let value = if access.value.is_empty() { String::new() } else { format!(": {}", access.value) };
        vec![access.place.to_string(), format!("{}{value}", access.key), access.why.to_owned()]
    };
    let rows: Vec<Vec<String>> = new.iter().map(row).collect();
    output::note("the project reaches this machine (said once; `stack explain host-access` tells more):");
    output::note(output::table(&["  WHERE", "WHAT", "WHY"], &indented(rows)).trim_end());
    agree(layout, project)
}

fn indented(mut rows: Vec<Vec<String>>) -> Vec<Vec<String>> {
    rows.iter_mut().filter_map(|row| row.first_mut()).for_each(|cell| cell.insert_str(0, "  "));
    rows
}

fn path(layout: &Layout, project: &Project) -> PathBuf {
    Trust::file(&layout.trust(), project.name())
}

/// Nothing is known where nothing was written, or what nobody understands.
fn read(path: &Path) -> Trust {
    fs_err::read(path).ok().and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_default()
}

fn write(path: &Path, trust: &Trust) -> io::Result<()> {
    if let Some(directory) = path.parent() {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    }
    let part = path.with_extension("part");
    fs_err::write(&part, serde_json::to_vec_pretty(trust)?)?;
    fs_err::rename(&part, path)
}
