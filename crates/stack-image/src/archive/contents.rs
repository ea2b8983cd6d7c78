//! The members of an archive, found by name, read where they lie.

use std::collections::HashMap;
use std::collections::hash_map::Entry as Slot;
use std::io::{self, Read, Seek};
use std::os::unix::fs::FileExt;
use std::path::Path;

use fs_err as fs;
use tar::EntryType;

use crate::content::Content;
use crate::error::ImageError;
use crate::manifest::Compression;
use crate::scratch::ScratchFile;
use crate::unpack::{Limits, Meter, Metered, clean, limit_passed, most_bytes, show};

/// Most members: images have at most 500 layers, and old archives three members for each.
const MEMBERS_MAX: usize = 100_000;
/// Most bytes of their names and of the targets of links.
const NAMES_MAX: usize = 32 << 20;
/// Most bytes of an archive after decompression.
const BYTES_MAX: u64 = 256 << 30;
/// Links that lead to links.
const LINKS_MAX: usize = 8;

/// A member's place in the archive.
#[derive(Debug, Clone, Copy)]
pub(super) struct Member {
    offset: u64,
    pub(super) size: u64,
}

enum Entry {
    File(Member),
    Link(Vec<u8>),
}

/// The table of contents, and the archive that it is of.
pub(super) struct Contents {
    file: std::fs::File,
    entries: HashMap<Vec<u8>, Entry>,
    /// Keeps the decompressed form.
    _scratch: Option<ScratchFile>,
}

impl Contents {
    pub(super) fn read(path: &Path, content: &Content) -> Result<Self, ImageError> {
        let mut file = fs::File::open(path).map_err(ImageError::store("read", path))?;
        let kind = file.metadata().map_err(ImageError::store("read", path))?.file_type();
        let mut scratch = None;
        // Members are read where they lie, which a pipe does not let them.
        if !kind.is_file() && !kind.is_dir() {
            let (plain, copy) = copy_whole(file, path, content)?;
            file = copy;
            scratch = Some(plain);
        }
        let compression = compression(&mut file).map_err(ImageError::store("read", path))?;
        if compression != Compression::None {
            let (plain, copy) = decompress(file, compression, path, content)?;
            file = copy;
            scratch = Some(plain);
        }
        let refuse = |reason: String| ImageError::Archive { path: path.to_owned(), reason };
        let entries = read_table(&mut file).map_err(refuse)?;
        Ok(Self { file: file.into_parts().0, entries, _scratch: scratch })
    }

    /// A regular file by its name, or through links that stay in the archive: old archives link equal layers.
    pub(super) fn find(&self, name: &str) -> Option<Member> {
        let mut name = clean(name.as_bytes()).ok()?;
        for _ in 0..LINKS_MAX {
            match self.entries.get(&name)? {
                Entry::File(member) => return Some(*member),
                Entry::Link(target) => name.clone_from(target),
            }
        }
        None
    }

    pub(super) fn open(&self, member: Member) -> impl Read + '_ {
        At { file: &self.file, offset: member.offset, left: member.size }
    }
}

fn compression(file: &mut fs::File) -> io::Result<Compression> {
    let mut start = [0; 4];
    let count = file.read(&mut start)?;
    file.rewind()?;
    Ok(Compression::of_content(&start[..count]))
}

fn copy_whole(source: fs::File, path: &Path, content: &Content) -> Result<(ScratchFile, fs::File), ImageError> {
    let mut scratch = ScratchFile::new_in(&content.scratch())?;
    let target = scratch.path().to_owned();
    let copied = io::copy(&mut source.take(BYTES_MAX), scratch.file());
    copied.map_err(ImageError::store("read", path))?;
    let copy = fs::File::open(&target).map_err(ImageError::store("read", target))?;
    Ok((scratch, copy))
}

fn decompress(
    file: fs::File,
    compression: Compression,
    path: &Path,
    content: &Content,
) -> Result<(ScratchFile, fs::File), ImageError> {
    let mut scratch = ScratchFile::new_in(&content.scratch())?;
    let target = scratch.path().to_owned();
    let compressed = file.metadata().map_err(ImageError::store("read", path))?.len();
    let limits = Limits { bytes: BYTES_MAX, compressed, ..Limits::default() };
    let meter = Meter::new(most_bytes(&limits));
    let damaged = |error: io::Error| {
        let reason = if meter.is_exceeded() { limit_passed(&limits, &meter).to_string() } else { error.to_string() };
        ImageError::Archive { path: path.to_owned(), reason }
    };
    let reader: Box<dyn Read> = match compression {
        Compression::Zstd => Box::new(zstd::stream::read::Decoder::new(file).map_err(damaged)?),
        Compression::Gzip | Compression::None => Box::new(flate2::read::MultiGzDecoder::new(file)),
    };
    let mut reader = Metered::new(reader, &meter);
    let mut buffer = vec![0; 256 << 10];
    loop {
        let count = match reader.read(&mut buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            read => read.map_err(damaged)?,
        };
        if count == 0 {
            break;
        }
        let written = io::Write::write_all(scratch.file(), &buffer[..count]);
        written.map_err(ImageError::store("write", &target))?;
    }
    let copy = fs::File::open(&target).map_err(ImageError::store("read", target))?;
    Ok((scratch, copy))
}

/// Reads the headers and skips the content.
fn read_table(file: &mut fs::File) -> Result<HashMap<Vec<u8>, Entry>, String> {
    let damaged = |error: io::Error| format!("it is no tar, or a damaged one: {error}");
    let length = file.metadata().map_err(damaged)?.len();
    let meter = Meter::new(u64::MAX);
    let mut archive = tar::Archive::new(Metered::new(file, &meter));
    let mut found = HashMap::new();
    let mut names_bytes = 0;
    let mut entries = archive.entries_with_seek().map_err(damaged)?;
    loop {
        meter.expect_header();
        let Some(entry) = entries.next() else { break };
        let entry = entry.map_err(damaged)?;
        meter.expect_content();
        // Content is skipped, so the end of the file may have been missed.
        if entry.raw_file_position().saturating_add(entry.size()) > length {
            return Err(damaged(io::ErrorKind::UnexpectedEof.into()));
        }
        let refuse = |reason| format!("the name of a member is refused: {reason}");
        let name = clean(&entry.path_bytes()).map_err(refuse)?;
        let member = match entry.header().entry_type() {
            EntryType::Regular | EntryType::Continuous => {
                Entry::File(Member { offset: entry.raw_file_position(), size: entry.size() })
            }
            EntryType::Link => Entry::Link(clean(&entry.link_name_bytes().unwrap_or_default()).map_err(refuse)?),
            EntryType::Symlink => {
                let target = entry.link_name_bytes().unwrap_or_default().into_owned();
                Entry::Link(beside(&name, &target).ok_or_else(|| "a link in it leads outside".to_owned())?)
            }
            _ => continue,
        };
        let target = if let Entry::Link(target) = &member { target.len() } else { 0 };
        names_bytes += name.len() + target;
        if names_bytes > NAMES_MAX {
            return Err(format!("the names of its members have more than {NAMES_MAX} bytes"));
        }
        if found.len() == MEMBERS_MAX {
            return Err(format!("it has more than {MEMBERS_MAX} members"));
        }
        // Of two members some readers take the first and some the last.
        match found.entry(name) {
            Slot::Occupied(other) => return Err(format!("two members have the name `{}`", show(other.key()))),
            Slot::Vacant(slot) => drop(slot.insert(member)),
        }
    }
    Ok(found)
}

/// Where a symbolic link leads inside the archive: `../other/layer.tar` beside `this/layer.tar`.
fn beside(name: &[u8], target: &[u8]) -> Option<Vec<u8>> {
    let mut path: Vec<&[u8]> = name.split(|byte| *byte == b'/').collect();
    path.pop();
    for component in target.split(|byte| *byte == b'/') {
        match component {
            b"" | b"." => {}
            b".." => drop(path.pop()?),
            component => path.push(component),
        }
    }
    Some(path.join(&b'/'))
}

/// Reads a range of a file without moving its position, so that several threads can.
struct At<'f> {
    file: &'f std::fs::File,
    offset: u64,
    left: u64,
}

impl Read for At<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let want = usize::try_from(self.left).map_or(buffer.len(), |left| left.min(buffer.len()));
        let count = self.file.read_at(&mut buffer[..want], self.offset)?;
        self.offset += count as u64;
        self.left -= count as u64;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_stay_in_the_archive() {
        assert_eq!(beside(b"a/layer.tar", b"../b/layer.tar").unwrap(), b"b/layer.tar");
        assert_eq!(beside(b"a/layer.tar", b"../../b"), None);
    }
}
