//! Reading and writing the files of a cgroup.

use std::io;
use std::path::Path;

use fs_err as fs;

use crate::CgroupError;

/// Makes one directory; `false` when it exists.
pub(crate) fn make(path: &Path) -> Result<bool, CgroupError> {
    match fs::create_dir(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(source) => Err(CgroupError::Directory { path: path.to_path_buf(), source }),
    }
}

pub(crate) fn read(path: &Path) -> Result<String, CgroupError> {
    fs::read_to_string(path).map_err(|source| CgroupError::Read { path: path.to_path_buf(), source: plain(source) })
}

/// Writes without creating: a misspelt name must not become a file of the fake tree in tests.
pub(crate) fn write(path: &Path, value: &str) -> Result<(), CgroupError> {
    let result = fs::OpenOptions::new()
        .write(true)
        .open(path)
        .and_then(|mut file| io::Write::write_all(&mut file, value.as_bytes()));
    result.map_err(|source| CgroupError::Write {
        path: path.to_path_buf(),
        value: value.to_owned(),
        source: plain(source),
    })
}

/// `fs_err` hides the number that callers look for behind the path, which our errors carry themselves.
fn plain(error: io::Error) -> io::Error {
    error.raw_os_error().map_or(error, io::Error::from_raw_os_error)
}
