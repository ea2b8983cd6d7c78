//! Entries of a layer that are written one by one.

use std::io::Write;

use crate::run::{output, program};

use super::Failed;
use super::pack::MODIFIED;

/// One entry.
#[derive(Debug)]
pub(super) struct Entry {
    path: String,
    kind: Kind,
    mode: u32,
    owner: u64,
}

/// What it is.
#[derive(Debug)]
pub(super) enum Kind {
    Directory,
    Text(&'static str),
    /// A file of this machine.
    CopyOf(&'static str),
    Symlink(&'static str),
    Hardlink(&'static str),
}

impl Entry {
    pub(super) fn new(path: &str, kind: Kind, mode: u32) -> Self {
        Self { path: path.to_owned(), kind, mode, owner: 0 }
    }

    pub(super) fn owned_by(mut self, owner: u64) -> Self {
        self.owner = owner;
        self
    }

    pub(super) fn append(&self, archive: &mut tar::Builder<impl Write>) -> Result<(), Failed> {
        let mut header = tar::Header::new_gnu();
        header.set_mode(self.mode);
        header.set_uid(self.owner);
        header.set_gid(self.owner);
        header.set_mtime(MODIFIED);
        let content = match &self.kind {
            Kind::Directory | Kind::Symlink(_) | Kind::Hardlink(_) => Vec::new(),
            Kind::Text(text) => text.as_bytes().to_vec(),
            Kind::CopyOf(path) => fs_err::read(path)?,
        };
        header.set_size(content.len() as u64);
        match &self.kind {
            Kind::Directory => header.set_entry_type(tar::EntryType::Directory),
            Kind::Text(_) | Kind::CopyOf(_) => header.set_entry_type(tar::EntryType::Regular),
            Kind::Symlink(target) => {
                header.set_entry_type(tar::EntryType::Symlink);
                return Ok(archive.append_link(&mut header, &self.path, target)?);
            }
            Kind::Hardlink(target) => {
                header.set_entry_type(tar::EntryType::Link);
                return Ok(archive.append_link(&mut header, &self.path, target)?);
            }
        }
        Ok(archive.append_data(&mut header, &self.path, content.as_slice())?)
    }
}

/// The names under which busybox does something.
pub(super) fn busybox_applets() -> Vec<String> {
    let list = output(program("/usr/bin/busybox").arg("--list")).unwrap_or_default();
    list.lines().filter(|name| *name != "busybox").map(str::to_owned).collect()
}
