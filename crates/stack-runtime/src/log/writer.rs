//! From a pipe or a terminal into the log.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use fs_err::File;
use rustix::io::Errno;
use rustix::pipe::{SpliceFlags, splice};

use super::Paths;
use super::index::{self, ENTRY_BYTES, Entry, HEADER_BYTES, Stream};

/// A generation of a log has at most this many bytes, and one move more.
pub const LOG_BYTES_MAX: u64 = 10 << 20;
/// The index of a generation has at most this many bytes: it bounds a program that writes byte by byte.
pub const INDEX_BYTES_MAX: u64 = 10 << 20;
/// One call moves at most this many bytes, so that one container cannot keep the others waiting.
const MOVE_BYTES_MAX: usize = 256 << 10;

/// Appends to the log of one container. At most one writer exists at a time: the supervisor's lock sees to that.
#[derive(Debug)]
pub struct LogWriter {
    paths: Paths,
    log: File,
    index: File,
    generation: u64,
    log_end: u64,
    index_end: u64,
    log_max: u64,
    index_max: u64,
}

impl LogWriter {
    /// Opens the log in `directory`, makes it if there is none, and mends what a killed writer left.
    ///
    /// # Errors
    /// A file cannot be opened, read or written.
    pub fn open(directory: &Path) -> io::Result<Self> {
        Self::open_with_limits(directory, LOG_BYTES_MAX, INDEX_BYTES_MAX)
    }

    /// The same for a log of at most `most` bytes: the file that grows and the one before it, which are kept together.
    /// The index is as long as ever.
    ///
    /// # Errors
    /// A file cannot be opened, read or written.
    pub fn open_bounded(directory: &Path, most: u64) -> io::Result<Self> {
        Self::open_with_limits(directory, (most / 2).max(1), INDEX_BYTES_MAX)
    }

    fn open_with_limits(directory: &Path, log_max: u64, index_max: u64) -> io::Result<Self> {
        let paths = Paths::new(directory);
        finish_rotation(&paths)?;
        let log = open_file(&paths.log)?;
        let index = open_file(&paths.index)?;
        let generation = ensure_header(&index, &paths)?;
        let mut writer = Self { paths, log, index, generation, log_end: 0, index_end: 0, log_max, index_max };
        writer.mend()?;
        Ok(writer)
    }

    /// Moves what `source` holds now into the log and returns the number of bytes; 0 when the other end is gone for
    /// good. It never blocks, provided that `source` is non-blocking.
    ///
    /// # Errors
    /// `WouldBlock` when there is nothing; otherwise the log cannot be written, and what was not moved is still in
    /// `source`.
    pub fn pump(&mut self, source: BorrowedFd<'_>, stream: Stream) -> io::Result<usize> {
        if self.log_end >= self.log_max || self.index_end >= self.index_max {
            self.rotate()?;
        }
        let moved = match self.splice_from(source) {
            // Terminals have no splice, nor has every filesystem (splice(2), EINVAL).
            Err(Errno::INVAL) => self.copy_from(source)?,
            result => result?,
        };
        if moved > 0 {
            self.append_entry(moved, stream, now_ns())?;
        }
        Ok(moved)
    }

    fn splice_from(&self, source: BorrowedFd<'_>) -> rustix::io::Result<usize> {
        loop {
            // An offset of our own, because splice(2) refuses files that were opened for appending.
            let mut offset = self.log_end;
            match splice(source, None, self.log.as_fd(), Some(&mut offset), MOVE_BYTES_MAX, SpliceFlags::NONBLOCK) {
                Err(Errno::INTR) => {}
                result => return result,
            }
        }
    }

    fn copy_from(&self, source: BorrowedFd<'_>) -> io::Result<usize> {
        let mut buffer = vec![0; MOVE_BYTES_MAX.min(64 << 10)];
        let count = loop {
            match rustix::io::read(source, &mut buffer) {
                Err(Errno::INTR) => {}
                // The last process with the terminal open is gone (pty(7)).
                Err(Errno::IO) => return Ok(0),
                result => break result?,
            }
        };
        self.log.file().write_all_at(&buffer[..count], self.log_end)?;
        Ok(count)
    }

    fn append_entry(&mut self, length: usize, stream: Stream, time_ns: u64) -> io::Result<()> {
        let length = u32::try_from(length).unwrap_or(u32::MAX);
        let entry = Entry { time_ns, offset: self.log_end, length, stream };
        // The bytes are in the log whether or not the entry can be written, so the end moves first: a full disk costs
        // a time stamp and no byte is written twice.
        self.log_end = entry.end();
        self.index.file().write_all_at(&entry.to_bytes(), self.index_end)?;
        self.index_end += ENTRY_BYTES;
        Ok(())
    }

    /// Finds both ends. Half an entry is cut off; bytes without an entry get one, with the time of the file.
    fn mend(&mut self) -> io::Result<()> {
        let index_bytes = self.index.metadata()?.len();
        self.index_end = index_bytes - (index_bytes - HEADER_BYTES) % ENTRY_BYTES;
        let log_bytes = self.log.metadata()?.len();
        while self.index_end > HEADER_BYTES {
            let mut bytes = [0; ENTRY_BYTES as usize];
            self.index.file().read_exact_at(&mut bytes, self.index_end - ENTRY_BYTES)?;
            self.log_end = Entry::from_bytes(&bytes).end();
            if self.log_end <= log_bytes {
                break;
            }
            // A host that lost power may have kept the entry and lost the bytes.
            self.log_end = 0;
            self.index_end -= ENTRY_BYTES;
        }
        if self.index_end < index_bytes {
            self.index.set_len(self.index_end)?;
        }
        let time = self.log.metadata()?.modified().map_or_else(|_| now_ns(), nanoseconds);
        while self.log_end < log_bytes {
            let rest = usize::try_from(log_bytes - self.log_end).unwrap_or(usize::MAX);
            self.append_entry(rest.min(u32::MAX as usize), Stream::Stdout, time)?;
        }
        Ok(())
    }

    fn rotate(&mut self) -> io::Result<()> {
        // A crash between the two leaves an index without a log, which the next writer recognises.
        fs_err::rename(&self.paths.log, &self.paths.old_log)?;
        fs_err::rename(&self.paths.index, &self.paths.old_index)?;
        self.generation += 1;
        self.log = open_file(&self.paths.log)?;
        self.index = open_file(&self.paths.index)?;
        self.index.file().write_all_at(&index::header(self.generation), 0)?;
        self.log_end = 0;
        self.index_end = HEADER_BYTES;
        Ok(())
    }
}

/// Ends a rotation that was cut short after its first rename.
fn finish_rotation(paths: &Paths) -> io::Result<()> {
    if !paths.log.exists() && paths.old_log.exists() && paths.index.exists() {
        fs_err::rename(&paths.index, &paths.old_index)?;
    }
    Ok(())
}

fn open_file(path: &Path) -> io::Result<File> {
    use fs_err::os::unix::fs::OpenOptionsExt as _;
    // What a program says may be secret.
    fs_err::OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)
}

/// The generation of an index, which gets a header if it has none.
fn ensure_header(index: &File, paths: &Paths) -> io::Result<u64> {
    if let Some(generation) = read_generation(index) {
        return Ok(generation);
    }
    let older = File::open(&paths.old_index).ok().and_then(|file| read_generation(&file));
    let generation = older.map_or(1, |older| older + 1);
    index.set_len(0)?;
    index.file().write_all_at(&index::header(generation), 0)?;
    Ok(generation)
}

pub(super) fn read_generation(index: &File) -> Option<u64> {
    let mut header = [0; HEADER_BYTES as usize];
    index.file().read_exact_at(&mut header, 0).ok()?;
    index::generation(&header)
}

fn now_ns() -> u64 {
    nanoseconds(SystemTime::now())
}

pub(super) fn nanoseconds(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
