//! From the log to lines.

use std::collections::VecDeque;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use fs_err::File;

use super::Paths;
use super::index::{ENTRY_BYTES, Entry, HEADER_BYTES, Stream};
use super::writer::{nanoseconds, read_generation};

/// A longer line is given out in pieces of this size, so that a program without line ends costs no memory.
pub const LINE_BYTES_MAX: usize = 1 << 20;
/// Bytes of the log read at once.
const WINDOW_BYTES: usize = 128 << 10;
/// Entries of the index read at once.
const ENTRIES_AT_ONCE: usize = 1024;
/// How often the files may be renamed under a reader that opens them before it gives up.
const OPEN_ATTEMPTS_MAX: usize = 16;

/// A line of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// When its first byte arrived, in nanoseconds since the Unix epoch.
    pub time_ns: u64,
    /// Where it came from.
    pub stream: Stream,
    /// Its bytes without the line feed.
    pub text: Vec<u8>,
}

/// Reads the log of one container, from the oldest line that is kept, over rotations. It never waits:
/// [`super::LogWatch`] does.
#[derive(Debug)]
pub struct LogReader {
    paths: Paths,
    segment: Option<Segment>,
    partial: [Partial; 2],
    lines: VecDeque<Line>,
}

/// A line whose end has not come.
#[derive(Debug, Default)]
struct Partial {
    text: Vec<u8>,
    time_ns: u64,
}

/// What there was to read.
enum Step {
    Stretch(Entry, Vec<u8>),
    /// Another generation was opened.
    NextSegment,
    Dry,
}

/// A generation of the log and how far it was read.
#[derive(Debug)]
struct Segment {
    log: File,
    index: File,
    generation: u64,
    /// Behind the last entry taken from the file.
    index_at: u64,
    entries: VecDeque<Entry>,
    /// Behind the last byte of the last entry.
    log_at: u64,
}

impl LogReader {
    /// Opens the log in `directory`; one that does not exist yet has no lines yet.
    ///
    /// # Errors
    /// A file cannot be opened.
    pub fn open(directory: &Path) -> io::Result<Self> {
        let paths = Paths::new(directory);
        let segment = oldest_above(&paths, 0)?;
        Ok(Self { paths, segment, partial: Default::default(), lines: VecDeque::new() })
    }

    /// The next whole line, or `None` when there is none yet.
    ///
    /// # Errors
    /// The log cannot be read.
    pub fn next_line(&mut self) -> io::Result<Option<Line>> {
        loop {
            if let Some(line) = self.lines.pop_front() {
                return Ok(Some(line));
            }
            if !self.read_more()? {
                return Ok(None);
            }
        }
    }

    /// What is left when nobody writes any more: bytes that a killed writer had no time to enter, then lines without
    /// an end. Call it after [`LogReader::next_line`] has returned `None`.
    ///
    /// # Errors
    /// The log cannot be read.
    pub fn take_rest(&mut self) -> io::Result<Vec<Line>> {
        if let Some(segment) = &mut self.segment {
            let metadata = segment.log.metadata()?;
            let time_ns = metadata.modified().map_or(0, nanoseconds);
            let rest = u32::try_from(metadata.len().saturating_sub(segment.log_at)).unwrap_or(u32::MAX);
            if rest > 0 {
                let entry = Entry { time_ns, offset: segment.log_at, length: rest, stream: Stream::Stdout };
                segment.entries.push_back(entry);
                while self.read_more()? {}
            }
        }
        let mut lines: Vec<Line> = self.lines.drain(..).collect();
        for (partial, stream) in self.partial.iter_mut().zip([Stream::Stdout, Stream::Stderr]) {
            if !partial.text.is_empty() {
                lines.push(Line { time_ns: partial.time_ns, stream, text: std::mem::take(&mut partial.text) });
            }
        }
        lines.sort_by_key(|line| line.time_ns);
        Ok(lines)
    }

    /// The next bytes as they were written, for whoever shows a log as if it were the container's own streams; `None`
    /// when there are none yet. Not to be mixed with [`LogReader::next_line`].
    ///
    /// # Errors
    /// The log cannot be read.
    pub fn next_bytes(&mut self) -> io::Result<Option<(Stream, Vec<u8>)>> {
        loop {
            match self.step()? {
                Step::Stretch(entry, bytes) => return Ok(Some((entry.stream, bytes))),
                Step::NextSegment => {}
                Step::Dry => return Ok(None),
            }
        }
    }

    /// Reads a stretch; `false` when there is none.
    fn read_more(&mut self) -> io::Result<bool> {
        match self.step()? {
            Step::Stretch(entry, bytes) => self.split(entry, &bytes),
            Step::NextSegment => {}
            Step::Dry => return Ok(false),
        }
        Ok(true)
    }

    fn step(&mut self) -> io::Result<Step> {
        let Some(segment) = &mut self.segment else {
            self.segment = oldest_above(&self.paths, 0)?;
            return Ok(if self.segment.is_some() { Step::NextSegment } else { Step::Dry });
        };
        if let Some((entry, bytes)) = segment.next_stretch()? {
            return Ok(Step::Stretch(entry, bytes));
        }
        if !self.paths_moved_on()? {
            return Ok(Step::Dry);
        }
        // The writer made its last entry before it renamed the files, so what is missing now stays missing.
        if let Some((entry, bytes)) = segment_next(&mut self.segment)? {
            return Ok(Step::Stretch(entry, bytes));
        }
        let after = self.segment.as_ref().map_or(0, |segment| segment.generation);
        match oldest_above(&self.paths, after)? {
            Some(next) => self.segment = Some(next),
            None => return Ok(Step::Dry),
        }
        Ok(Step::NextSegment)
    }

    /// Whether the index at its path is not the one that is open.
    fn paths_moved_on(&self) -> io::Result<bool> {
        let Some(segment) = &self.segment else { return Ok(false) };
        let open = segment.index.metadata()?.ino();
        Ok(inode(&self.paths.index).is_some_and(|inode| inode != open))
    }

    fn split(&mut self, entry: Entry, bytes: &[u8]) {
        let partial = match entry.stream {
            Stream::Stdout => &mut self.partial[0],
            Stream::Stderr => &mut self.partial[1],
        };
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            if partial.text.is_empty() {
                partial.time_ns = entry.time_ns;
            }
            let (text, whole) = piece.strip_suffix(b"\n").map_or((piece, false), |text| (text, true));
            partial.text.extend_from_slice(text);
            if whole || partial.text.len() >= LINE_BYTES_MAX {
                let text = std::mem::take(&mut partial.text);
                self.lines.push_back(Line { time_ns: partial.time_ns, stream: entry.stream, text });
            }
        }
    }
}

fn segment_next(segment: &mut Option<Segment>) -> io::Result<Option<(Entry, Vec<u8>)>> {
    segment.as_mut().map_or(Ok(None), Segment::next_stretch)
}

impl Segment {
    /// The next stretch of one stream, at most [`WINDOW_BYTES`] of it.
    fn next_stretch(&mut self) -> io::Result<Option<(Entry, Vec<u8>)>> {
        if self.entries.is_empty() {
            self.read_entries()?;
        }
        let Some(entry) = self.entries.front_mut() else { return Ok(None) };
        let stretch = *entry;
        let mut bytes = vec![0; (stretch.length as usize).min(WINDOW_BYTES)];
        let count = read_at(&self.log, &mut bytes, stretch.offset)?;
        bytes.truncate(count);
        let taken = u32::try_from(count).unwrap_or(u32::MAX);
        if count == 0 || taken == entry.length {
            // An entry without bytes is what a power failure can leave.
            self.log_at = entry.end();
            self.entries.pop_front();
        } else {
            entry.offset += u64::from(taken);
            entry.length -= taken;
            self.log_at = entry.offset;
        }
        Ok(Some((stretch, bytes)))
    }

    fn read_entries(&mut self) -> io::Result<()> {
        let mut bytes = vec![0; ENTRIES_AT_ONCE * ENTRY_BYTES as usize];
        let count = read_at(&self.index, &mut bytes, self.index_at)?;
        let (whole, _torn) = bytes[..count].as_chunks::<{ ENTRY_BYTES as usize }>();
        for entry in whole.iter().map(Entry::from_bytes) {
            self.index_at += ENTRY_BYTES;
            self.push(entry);
        }
        Ok(())
    }

    /// Joins an entry to the one before it where that changes nothing: many small writes are read as one stretch.
    fn push(&mut self, entry: Entry) {
        if let Some(last) = self.entries.back_mut()
            && (last.stream, last.time_ns, last.end()) == (entry.stream, entry.time_ns, entry.offset)
            && let Some(length) = last.length.checked_add(entry.length)
        {
            last.length = length;
            return;
        }
        self.entries.push_back(entry);
    }
}

/// Reads until `buffer` is full or the file ends.
fn read_at(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.file().read_at(&mut buffer[filled..], offset + filled as u64) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

fn inode(path: &Path) -> Option<u64> {
    fs_err::metadata(path).ok().map(|metadata| metadata.ino())
}

/// Opens the oldest generation above `after` that is still there.
fn oldest_above(paths: &Paths, after: u64) -> io::Result<Option<Segment>> {
    for _ in 0..OPEN_ATTEMPTS_MAX {
        let before = inodes(paths);
        let [log, index, ..] = before;
        // Between the two renames of a rotation, `log.1` belongs to `log.index`.
        let pairs: &[(&PathBuf, &PathBuf)] = match (log, index) {
            (None, Some(_)) => &[(&paths.old_log, &paths.index)],
            (Some(_) | None, None) => &[(&paths.old_log, &paths.old_index)],
            (Some(_), Some(_)) => &[(&paths.old_log, &paths.old_index), (&paths.log, &paths.index)],
        };
        let opened = pairs.iter().map(|(log, index)| open_pair(log, index)).collect::<io::Result<Vec<_>>>()?;
        if inodes(paths) == before {
            return Ok(opened.into_iter().flatten().find(|segment| segment.generation > after));
        }
    }
    Err(io::Error::new(io::ErrorKind::ResourceBusy, "the log is renamed faster than it can be opened"))
}

fn inodes(paths: &Paths) -> [Option<u64>; 4] {
    [&paths.log, &paths.index, &paths.old_log, &paths.old_index].map(|path| inode(path))
}

fn open_pair(log: &Path, index: &Path) -> io::Result<Option<Segment>> {
    let open = |path: &Path| match File::open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    };
    let (Some(index), Some(log)) = (open(index)?, open(log)?) else { return Ok(None) };
    // A new index has no header for a moment; whoever follows the log looks again.
    let Some(generation) = read_generation(&index) else { return Ok(None) };
    let entries = VecDeque::new();
    Ok(Some(Segment { log, index, generation, index_at: HEADER_BYTES, entries, log_at: 0 }))
}
