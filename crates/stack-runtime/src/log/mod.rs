//! What a container wrote: the bytes, and when they came on which stream.
//!
//! Two files in the container's directory. `log` holds the raw bytes of both streams in the order they arrived;
//! `log.index` says which stretch came when, on which stream (its format is in [`index`]). Bytes go from the pipe to the
//! file inside the kernel, so a writer that is killed at any point has lost nothing: what is not in the file is still
//! in the pipe. A crash between the bytes and their index entry is mended by the next writer.
//!
//! When a generation is full, both files are renamed to `log.1` and `log.1.index` and the older one is forgotten.

mod follow;
mod index;
mod merge;
mod reader;
mod writer;

pub use follow::LogWatch;
pub use index::{ENTRY_BYTES, Entry, HEADER_BYTES, Stream};
pub use merge::LogMerge;
pub use reader::{LINE_BYTES_MAX, Line, LogReader};
pub use writer::{INDEX_BYTES_MAX, LOG_BYTES_MAX, LogWriter};

use std::path::{Path, PathBuf};

/// The four files of a log.
#[derive(Debug, Clone)]
struct Paths {
    log: PathBuf,
    index: PathBuf,
    old_log: PathBuf,
    old_index: PathBuf,
}

impl Paths {
    fn new(directory: &Path) -> Self {
        Self {
            log: directory.join("log"),
            index: directory.join("log.index"),
            old_log: directory.join("log.1"),
            old_index: directory.join("log.1.index"),
        }
    }
}
