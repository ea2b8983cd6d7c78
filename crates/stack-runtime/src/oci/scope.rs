//! The scope of systemd around a container's cgroup (`--systemd-cgroup`).
//!
//! ```text
//! machine.slice/libpod-1.scope             systemd's: it may write here what it thinks is right
//! machine.slice/libpod-1.scope/container   the container's limits and processes
//! machine.slice/libpod-1.scope/holder      keeps the new scope from being empty until the container is in it
//! ```

use std::path::PathBuf;

use fs_err as fs;
use oci_spec::runtime::Spec;
use stack_cgroup::{Scope, Tree};
use stack_sys::Namespaces;

use super::OciError;
use super::holder::Holder;

/// The container's part of the scope.
pub(super) const CONTAINER: &str = "container";
const HOLDER: &str = "holder";

/// The scope that a configuration asks for with `slice:prefix:name`, and where it is.
pub(super) fn asked(spec: &Spec, id: &str) -> Result<(Scope, PathBuf), OciError> {
    let linux = spec.linux().as_ref();
    let text = linux.and_then(|linux| linux.cgroups_path().as_ref()).map(|path| path.to_string_lossy().into_owned());
    let text = text.filter(|text| !text.is_empty()).unwrap_or_else(|| format!(":stack-oci:{id}"));
    let wrong =
        || OciError::Spec(format!("`linux.cgroupsPath` is `slice:prefix:name` with --systemd-cgroup, not `{text}`"));
    let parts: Vec<&str> = text.split(':').collect();
    let [slice, prefix, name] = parts.as_slice() else { return Err(wrong()) };
    let slice = if slice.is_empty() { "system.slice" } else { slice };
    let unit = if prefix.is_empty() { format!("{name}.scope") } else { format!("{prefix}-{name}.scope") };
    let scope = Scope { unit, slice: slice.to_owned() };
    if name.is_empty() || scope.unit.contains('/') {
        return Err(wrong());
    }
    let path = scope.path().ok_or_else(wrong)?;
    Ok((scope, path))
}

/// A scope that is there for a container to be made in.
pub(super) struct Begun {
    unit: String,
    place: PathBuf,
    holder: Holder,
}

impl Begun {
    pub(super) fn begin(scope: &Scope, place: PathBuf, id: &str, tree: &Tree) -> Result<Self, OciError> {
        let holder = Holder::begin(Namespaces::default()).map_err(OciError::file("clone a process"))?;
        scope.start(&format!("container {id}"), holder.pid)?;
        let place = place.join(HOLDER);
        let begun = Self { unit: scope.unit.clone(), place, holder };
        begun.make_room(tree).inspect_err(|_| drop(stack_cgroup::stop_scope(&begun.unit)))?;
        Ok(begun)
    }

    /// On version 2 a cgroup that passes controllers on has no processes itself (cgroups(7)).
    fn make_room(&self, tree: &Tree) -> Result<(), OciError> {
        let Some(directory) = tree.directory("", &self.place).filter(|_| tree.is_v2()) else { return Ok(()) };
        tree.create(&self.place)?;
        let pid = self.holder.pid.to_string();
        fs::write(directory.join("cgroup.procs"), pid).map_err(OciError::file("move a process into the scope"))
    }

    /// The container is in it.
    pub(super) fn finish(self, tree: &Tree) -> Result<(), OciError> {
        let Self { place, holder, .. } = self;
        drop(holder);
        Ok(tree.remove(&place)?)
    }
}
