//! Reading and writing the files of a cgroup.

use std::io::{self, Read, Write};
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

/// With the plain `std::fs`: callers look at the error's number, which `fs_err` hides, and our errors carry the path.
pub(crate) fn read(path: &Path) -> Result<String, CgroupError> {
    let mut text = String::new();
    let result = std::fs::File::open(path).and_then(|mut file| file.read_to_string(&mut text));
    result.map(|_| text).map_err(|source| CgroupError::Read { path: path.to_path_buf(), source })
}

/// Writes without creating: a misspelt name must not become a file of the fake tree in tests.
pub(crate) fn write(path: &Path, value: &str) -> Result<(), CgroupError> {
    let open = std::fs::OpenOptions::new().write(true).open(path);
    let result = open.and_then(|mut file| file.write_all(value.as_bytes()));
    result.map_err(|source| CgroupError::Write { path: path.to_path_buf(), value: value.to_owned(), source })
}
