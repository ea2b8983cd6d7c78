//! What COPY, ADD and bind mounts read: paths of a context, a stage or an image, as a flat list of entries.

use std::ffi::OsStr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Component, Path, PathBuf};

use fs_err as fs;
use rustix::fs::{Mode, OFlags, ResolveFlags, openat2};

use crate::cache::KeyMaker;
use crate::error::BuildError;
use crate::files::FileDigests;
use crate::glob::{Pattern, is_pattern};
use crate::ignore::Ignore;

/// A tree that is read.
#[derive(Debug)]
pub(crate) struct Tree<'t> {
    pub(crate) root: PathBuf,
    /// What it leaves out.
    pub(crate) ignore: Option<&'t Ignore>,
    /// Owners count: it is an image's. Files of a context belong to root in the image.
    pub(crate) is_image: bool,
}

/// Something that a source names.
#[derive(Debug, Clone)]
pub(crate) struct Found {
    /// Relative to the root, as it was named.
    pub(crate) path: PathBuf,
    /// The real one on this machine, links resolved inside the root.
    pub(crate) real: PathBuf,
    pub(crate) metadata: std::fs::Metadata,
}

/// One entry to copy.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    /// Relative to the destination; empty for the destination itself.
    pub(crate) target: PathBuf,
    pub(crate) source: PathBuf,
    pub(crate) metadata: std::fs::Metadata,
}

/// Why a source is not taken.
#[derive(Debug)]
pub(crate) enum Missing {
    /// There is nothing of that name.
    NotFound,
    /// `.dockerignore` leaves it out.
    Ignored,
    /// It could not be looked at.
    Failed(BuildError),
}

impl From<BuildError> for Missing {
    fn from(error: BuildError) -> Self {
        Self::Failed(error)
    }
}

/// A path below the root: `..` does not lead out.
pub(crate) fn relative(text: &str) -> PathBuf {
    let mut path = PathBuf::new();
    for component in Path::new(text).components() {
        match component {
            Component::Normal(name) => path.push(name),
            Component::ParentDir => drop(path.pop()),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    path
}

impl Tree<'_> {
    fn open_root(&self) -> Result<OwnedFd, BuildError> {
        rustix::fs::open(&self.root, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
            .map_err(|error| BuildError::io("open", &self.root)(error.into()))
    }

    /// A path, its links followed as if the root were `/`.
    pub(crate) fn look(&self, path: &Path) -> Result<Found, Missing> {
        let root = self.open_root()?;
        let inside = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        let file = openat2(&root, inside, flags, Mode::empty(), resolve).map_err(|error| match error {
            rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR => Missing::NotFound,
            error => BuildError::io("look at", self.root.join(path))(error.into()).into(),
        })?;
        let name = |file: &OwnedFd| fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd()));
        let real = name(&file).map_err(BuildError::io("look at", self.root.join(path)))?;
        let real_root = name(&root).map_err(BuildError::io("look at", &self.root))?;
        let inside = real.strip_prefix(&real_root).unwrap_or(path);
        if self.excludes(path) && !self.may_hold_exceptions(inside, &real) || self.excludes(inside) && inside != path {
            return Err(Missing::Ignored);
        }
        let metadata = fs::symlink_metadata(&real).map_err(BuildError::io("look at", &real))?;
        Ok(Found { path: path.to_owned(), real, metadata })
    }

    fn excludes(&self, path: &Path) -> bool {
        !path.as_os_str().is_empty() && self.ignore.is_some_and(|ignore| ignore.excludes(&path.to_string_lossy()))
    }

    /// An excluded directory of which a part may be in.
    fn may_hold_exceptions(&self, path: &Path, real: &Path) -> bool {
        real.is_dir() && self.ignore.is_some_and(|ignore| !ignore.prunes(&path.to_string_lossy()))
    }

    /// All that a source means: one path, or what matches it, in order.
    pub(crate) fn find(&self, source: &str) -> Result<Vec<Found>, Missing> {
        if !is_pattern(source) {
            return Ok(vec![self.look(&relative(source))?]);
        }
        let pattern = relative(source);
        let components: Vec<&OsStr> = pattern.iter().collect();
        let fixed = components.iter().take_while(|part| !is_pattern(&part.to_string_lossy())).count();
        let start: PathBuf = components[..fixed].iter().collect();
        let deep = components.iter().any(|part| part.as_bytes().windows(2).any(|pair| pair == b"**"));
        let depth = if deep { usize::MAX } else { components.len() - fixed };
        let compiled = Pattern::path(&pattern.to_string_lossy());
        let first = self.look(&start)?;
        let mut found = Vec::new();
        self.matching(&start, &first.real, depth, &compiled, &mut found)?;
        if found.is_empty() { Err(Missing::NotFound) } else { Ok(found) }
    }

    fn matching(
        &self,
        path: &Path,
        real: &Path,
        depth: usize,
        pattern: &Pattern,
        found: &mut Vec<Found>,
    ) -> Result<(), Missing> {
        let Ok(entries) = fs::read_dir(real) else { return Ok(()) };
        let mut names: Vec<_> = entries.flatten().map(|entry| entry.file_name()).collect();
        names.sort();
        for name in names {
            let path = path.join(&name);
            if pattern.matches(&path.to_string_lossy()) {
                match self.look(&path) {
                    Ok(one) => found.push(one),
                    Err(Missing::Ignored | Missing::NotFound) => {}
                    Err(error @ Missing::Failed(_)) => return Err(error),
                }
            } else if depth > 1 && real.join(&name).is_dir() {
                self.matching(&path, &real.join(&name), depth - 1, pattern, found)?;
            }
        }
        Ok(())
    }

    /// A directory and all below it, parents first, in order of names.
    pub(crate) fn walk(&self, found: &Found, target: &Path, exclude: &[Pattern]) -> Result<Vec<Entry>, BuildError> {
        let mut entries = Vec::new();
        let walker = Walker { tree: self, exclude };
        walker.walk(&found.path, Path::new(""), &found.real, target, &mut entries)?;
        Ok(entries)
    }
}

struct Walker<'w> {
    tree: &'w Tree<'w>,
    exclude: &'w [Pattern],
}

impl Walker<'_> {
    /// `path` is relative to the root of the tree, `below` to where the walk began.
    fn walk(
        &self,
        path: &Path,
        below: &Path,
        real: &Path,
        target: &Path,
        entries: &mut Vec<Entry>,
    ) -> Result<(), BuildError> {
        let read = fs::read_dir(real).map_err(BuildError::io("read", real))?;
        let mut names: Vec<_> = read.flatten().map(|entry| entry.file_name()).collect();
        names.sort();
        for name in names {
            let (path, below, real) = (path.join(&name), below.join(&name), real.join(&name));
            let shown = below.to_string_lossy();
            if self.exclude.iter().any(|pattern| pattern.matches(&shown)) {
                continue;
            }
            let metadata = fs::symlink_metadata(&real).map_err(BuildError::io("look at", &real))?;
            let excluded = self.tree.excludes(&path);
            let target = target.join(&name);
            let kind = metadata.file_type();
            if kind.is_socket() || (excluded && !(kind.is_dir() && self.tree.may_hold_exceptions(&path, &real))) {
                continue;
            }
            let before = entries.len();
            entries.push(Entry { target: target.clone(), source: real.clone(), metadata });
            if kind.is_dir() {
                self.walk(&path, &below, &real, &target, entries)?;
                // An excluded directory is there only for what is in it.
                if excluded && entries.len() == before + 1 {
                    entries.pop();
                }
            }
        }
        Ok(())
    }
}

/// Adds to a key what entries are: names, kinds, modes and content, but not their times.
pub(crate) fn describe(
    key: &mut KeyMaker,
    entries: &[Entry],
    is_image: bool,
    digests: &FileDigests,
) -> Result<(), BuildError> {
    for entry in entries {
        let metadata = &entry.metadata;
        let kind = metadata.file_type();
        key.add("entry", entry.target.as_os_str().as_bytes());
        key.add("mode", metadata.mode().to_string());
        if is_image {
            key.add("owner", format!("{}:{}", metadata.uid(), metadata.gid()));
        }
        if !kind.is_symlink() {
            for (name, value) in crate::copy::attributes(&entry.source) {
                key.add(&name, value);
            }
        }
        if kind.is_symlink() {
            let target = fs::read_link(&entry.source).map_err(BuildError::io("read", &entry.source))?;
            key.add("link", target.as_os_str().as_bytes());
        } else if kind.is_file() {
            key.add("content", digests.of(&entry.source, metadata)?);
        }
    }
    Ok(())
}
