//! Unpacking one layer: a security boundary, because the tar is written by whoever made the image.
//!
//! The `tar` crate parses; every effect on the file system is here. All paths are resolved below a descriptor of the
//! layer's own directory with openat2(2) and `RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS`, so neither `..` nor a link that
//! the tar itself brought can lead out. Names, types, devices, extended attributes, sizes and counts are checked
//! against what image layers need; what does not pass is refused with its name, and the caller throws the directory
//! away. Whiteouts (OCI image-spec `layer.md`) become what overlayfs understands.

mod confine;
mod error;
mod header;
mod meter;
mod path;
mod tree;

use std::io::{self, Read};
use std::path::Path;

use tar::{Archive, Entry, EntryType};

pub use confine::unpack_confined;
pub use error::{Refusal, UnpackError};
pub(crate) use header::is_allowed_attribute;
use header::read_facts;
pub(crate) use meter::{Meter, Metered};
pub(crate) use path::clean;
pub(crate) use path::show;
use path::{Mark, mark};
use tree::Tree;

/// What a layer may cost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Most entries of the tar.
    pub entries: u64,
    /// Most bytes of the uncompressed tar.
    pub bytes: u64,
    /// Size of the layer before decompression in bytes, to tell honest content from a bomb; 0 when unknown.
    pub compressed: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { entries: 2_000_000, bytes: 64 << 30, compressed: 0 }
    }
}

/// Below this many bytes nobody asks how well a layer was compressed.
const RATIO_FREE_BYTES: u64 = 1 << 30;
/// Real layers reach 20; gzip at its limit reaches 1032.
const RATIO_MAX: u64 = 200;

/// What was unpacked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Unpacked {
    /// Entries of the tar.
    pub entries: u64,
    /// Bytes of the uncompressed tar.
    pub bytes: u64,
}

/// Unpacks an uncompressed tar into an empty directory, to the very end of the stream.
///
/// # Errors
/// At the first entry that is refused or cannot be written. The directory then holds a part of the layer.
pub fn unpack(reader: impl Read, root: &Path, limits: &Limits) -> Result<Unpacked, UnpackError> {
    let meter = Meter::new(most_bytes(limits));
    let mut archive = Archive::new(Metered::new(reader, &meter));
    let mut tree = Tree::open(root)?;
    let mut count = 0;
    let mut result = unpack_entries(&mut archive, &mut tree, limits, &meter, &mut count);
    if result.is_ok() {
        // The digest is of the whole stream: read what follows the end mark.
        meter.expect_content();
        let drained = io::copy(&mut archive.into_inner(), &mut io::sink());
        result = drained.map(drop).map_err(|source| UnpackError::Damaged { entries: count, source });
    }
    // Whatever tar made of it: when a limit was passed, that is the reason.
    if meter.is_exceeded() {
        return Err(limit_passed(limits, &meter));
    }
    result?;
    tree.finish()?;
    Ok(Unpacked { entries: count, bytes: meter.total() })
}

/// The limit that counts: no more than the ratio allows, where the compressed size is known.
pub(crate) fn most_bytes(limits: &Limits) -> u64 {
    match limits.compressed {
        0 => limits.bytes,
        compressed => limits.bytes.min(compressed.saturating_mul(RATIO_MAX).max(RATIO_FREE_BYTES)),
    }
}

/// The limit that a meter has passed, in words.
pub(crate) fn limit_passed(limits: &Limits, meter: &Meter) -> UnpackError {
    match meter.is_header_exceeded() {
        true => UnpackError::Limit { what: "bytes in the headers of one entry", max: meter::HEADER_MAX },
        false if most_bytes(limits) < limits.bytes => {
            UnpackError::Ratio { compressed: limits.compressed, max: most_bytes(limits) }
        }
        false => UnpackError::Limit { what: "bytes", max: limits.bytes },
    }
}

fn unpack_entries<R: Read>(
    archive: &mut Archive<Metered<'_, R>>,
    tree: &mut Tree,
    limits: &Limits,
    meter: &Meter,
    count: &mut u64,
) -> Result<(), UnpackError> {
    let damaged = |entries: u64| move |source: io::Error| UnpackError::Damaged { entries, source };
    let mut entries = archive.entries().map_err(damaged(0))?;
    loop {
        // tar reads extended headers into memory on its own; only what it may read meanwhile bounds that.
        meter.expect_header();
        let Some(entry) = entries.next() else { break };
        let mut entry = entry.map_err(|source| damaged(*count)(in_words(source)))?;
        meter.expect_content();
        *count += 1;
        if *count > limits.entries {
            return Err(UnpackError::Limit { what: "entries", max: limits.entries });
        }
        apply(&mut entry, tree, *count)?;
        io::copy(&mut entry, &mut io::sink()).map_err(damaged(*count))?;
    }
    Ok(())
}

/// tar repeats a header that it does not understand, whatever that holds.
fn in_words(error: io::Error) -> io::Error {
    let text = error.to_string();
    match ["numeric field was not a number", "archive header checksum mismatch"].iter().any(|part| text.contains(part))
    {
        true => io::Error::new(error.kind(), "what follows is no header of a tar"),
        false => error,
    }
}

/// Does what one entry says.
fn apply<R: Read>(entry: &mut Entry<'_, R>, tree: &mut Tree, count: u64) -> Result<(), UnpackError> {
    let raw = entry.path_bytes().into_owned();
    let refuse = |reason| UnpackError::Refused { entry: show(&raw), reason };
    let kind = entry.header().entry_type();
    if kind == EntryType::XGlobalHeader {
        return Ok(());
    }
    let path = clean(&raw).map_err(refuse)?;
    let facts = read_facts(entry).map_err(refuse)?;
    match mark(&path).map_err(refuse)? {
        Mark::None => {}
        Mark::Ignored => return Ok(()),
        Mark::Opaque(directory) => {
            let directory = directory.to_vec();
            return if directory.is_empty() { Err(refuse(Refusal::OpaqueRoot)) } else { tree.make_opaque(&directory) };
        }
        Mark::Whiteout(hidden) => return tree.whiteout(&hidden),
    }
    let is_old_directory = kind == EntryType::Regular && raw.ends_with(b"/") && facts.size == 0;
    if path.is_empty() {
        let is_directory = kind == EntryType::Directory || is_old_directory;
        return if is_directory { tree.directory(&path, &facts) } else { Err(refuse(Refusal::Root)) };
    }
    match kind {
        EntryType::Directory => tree.directory(&path, &facts),
        EntryType::Regular | EntryType::Continuous if is_old_directory => tree.directory(&path, &facts),
        EntryType::Regular | EntryType::Continuous => tree.file(&path, &facts, entry, count),
        EntryType::Symlink => {
            tree.symlink(&path, &facts, &link_name(entry).ok_or_else(|| refuse(Refusal::LinkTarget))?)
        }
        EntryType::Link => {
            let target = link_name(entry).ok_or_else(|| refuse(Refusal::LinkTarget))?;
            tree.hardlink(&path, &clean(&target).map_err(refuse)?)
        }
        EntryType::Fifo => tree.fifo(&path, &facts),
        EntryType::Char | EntryType::Block => tree.device(&path, &facts, kind == EntryType::Char),
        EntryType::GNUSparse => Err(refuse(Refusal::Sparse)),
        _ => Err(refuse(Refusal::Type)),
    }
}

fn link_name<R: Read>(entry: &Entry<'_, R>) -> Option<Vec<u8>> {
    entry.link_name_bytes().map(|name| name.into_owned()).filter(|name| !name.is_empty())
}

#[cfg(test)]
mod robust_tests;
#[cfg(test)]
mod tests;
