//! Named volumes: a directory each, `volumes/<name>/{volume.json,_data}`.

use stack_model::{Layout, VolumeName, VolumePlan};

use crate::failure::VolumeError;
use crate::supervisor::make_private;

/// Makes a volume's directory. The description is written first and the data directory last: a volume exists once its
/// data directory does.
pub(crate) fn ensure_volume(layout: &Layout, plan: &VolumePlan) -> Result<bool, VolumeError> {
    let make = || -> std::io::Result<bool> {
        let data = layout.volume_data(&plan.name);
        if data.is_dir() {
            return Ok(false);
        }
        let directory = layout.volume(&plan.name);
        make_private(&directory)?;
        let description = serde_json::to_vec_pretty(plan)?;
        fs_err::write(directory.join("volume.json"), description)?;
        fs_err::create_dir(&data)?;
        Ok(true)
    };
    make().map_err(|source| VolumeError::Io { name: plan.name.to_string(), source })
}

/// Whether a volume exists.
pub(crate) fn volume_exists(layout: &Layout, name: &VolumeName) -> bool {
    layout.volume_data(name).is_dir()
}

/// Deletes a volume and what is in it. It disappears at once under a name that no volume can have; what a crash leaves
/// of the deletion is swept by the next one.
pub(crate) fn remove_volume(layout: &Layout, name: &VolumeName) -> Result<bool, VolumeError> {
    let remove = || -> std::io::Result<bool> {
        let directory = layout.volume(name);
        if !directory.exists() {
            return Ok(false);
        }
        let doomed = directory.with_file_name(format!(".removing-{name}"));
        if doomed.exists() {
            fs_err::remove_dir_all(&doomed)?;
        }
        fs_err::rename(&directory, &doomed)?;
        fs_err::remove_dir_all(&doomed)?;
        Ok(true)
    };
    remove().map_err(|source| VolumeError::Io { name: name.to_string(), source })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn a_volume_is_made_once_and_removed_once() {
        let root = tempfile::tempdir().unwrap();
        let layout = Layout { root: root.path().into(), run: root.path().join("run") };
        let plan = VolumePlan { name: VolumeName::new("shop_data"), labels: BTreeMap::new() };
        assert!(ensure_volume(&layout, &plan).unwrap());
        fs_err::write(layout.volume_data(&plan.name).join("file"), "kept").unwrap();
        assert!(!ensure_volume(&layout, &plan).unwrap());
        assert!(layout.volume_data(&plan.name).join("file").exists());
        assert!(remove_volume(&layout, &plan.name).unwrap());
        assert!(!remove_volume(&layout, &plan.name).unwrap());
        assert_eq!(fs_err::read_dir(root.path().join("volumes")).unwrap().count(), 0);
    }
}
