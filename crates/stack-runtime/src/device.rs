//! Devices of the host that a container is given: what they are is looked up when it starts.

use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use fs_err as fs;
use stack_model::Device;

use crate::spec::DeviceSpec;

/// A device as a node to make and as a rule of the devices controller.
pub(crate) struct Granted {
    pub(crate) node: DeviceSpec,
    /// `c 10:229 rwm`.
    pub(crate) rule: String,
}

/// Looks devices up. A directory stands for every device below it, as docker has it.
///
/// # Errors
/// One is not there, or is no device; the error names the path.
pub(crate) fn look_up(devices: &[Device]) -> io::Result<Vec<Granted>> {
    let mut granted = Vec::new();
    for device in devices {
        let before = granted.len();
        collect(&device.source, &device.target, &device.permissions, &mut granted)?;
        if granted.len() == before {
            let text = format!("{} is neither a device nor a directory with devices", device.source.display());
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
    }
    Ok(granted)
}

fn collect(source: &Path, target: &str, permissions: &str, granted: &mut Vec<Granted>) -> io::Result<()> {
    let metadata = std::fs::metadata(source)
        .map_err(|error| io::Error::new(error.kind(), format!("{}: {}", source.display(), error.kind())))?;
    let file_type = metadata.file_type();
    if file_type.is_dir() {
        for entry in fs::read_dir(source)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            // Links lead to what stands elsewhere in the directory.
            if !entry.file_type()?.is_symlink() {
                collect(&entry.path(), &format!("{target}/{name}"), permissions, granted)?;
            }
        }
        return Ok(());
    }
    let kind = match (file_type.is_char_device(), file_type.is_block_device()) {
        (true, _) => 'c',
        (_, true) => 'b',
        (false, false) => return Ok(()),
    };
    let number = metadata.rdev();
    let (major, minor) = (rustix::fs::major(number), rustix::fs::minor(number));
    let (mode, uid, gid) = (metadata.mode() & 0o7777, metadata.uid(), metadata.gid());
    granted.push(Granted {
        node: DeviceSpec { path: target.to_owned(), kind, major, minor, mode, uid, gid, prepared: None },
        rule: format!("{kind} {major}:{minor} {permissions}"),
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device(source: &str) -> Device {
        Device { source: source.into(), target: "/dev/x".to_owned(), permissions: "rw".to_owned() }
    }

    #[test]
    fn a_device_is_known_by_its_numbers_and_a_file_is_none() {
        let granted = look_up(&[device("/dev/null")]).unwrap();
        assert_eq!((granted.len(), granted[0].rule.as_str()), (1, "c 1:3 rw"));
        assert_eq!((granted[0].node.path.as_str(), granted[0].node.mode), ("/dev/x", 0o666));
        assert!(look_up(&[device("/etc/hostname")]).is_err_and(|error| error.to_string().contains("/etc/hostname")));
        assert!(look_up(&[device("/dev/none-such")]).is_err_and(|error| error.to_string().contains("none-such")));
    }
}
