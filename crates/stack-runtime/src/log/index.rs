//! The format of `log.index`: a header of 16 bytes, then entries of 24 bytes, all numbers little-endian.
//!
//! ```text
//! header   0  8  "stklog" and the version as two bytes
//!          8  8  generation: counts rotations, so that a reader never pairs a log with the index of another
//! entry    0  8  time, nanoseconds since the Unix epoch
//!          8  8  offset of the stretch in the log
//!         16  4  its length
//!         20  1  stream: 1 standard output, 2 standard error
//!         21  3  zero
//! ```

/// Size of the header.
pub const HEADER_BYTES: u64 = 16;
/// Size of an entry.
pub const ENTRY_BYTES: u64 = 24;

const MAGIC: &[u8; 8] = b"stklog\x01\x00";

/// Where bytes came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stream {
    /// Standard output, and the only stream of a terminal.
    Stdout,
    /// Standard error.
    Stderr,
}

/// A stretch of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// When it arrived, in nanoseconds since the Unix epoch.
    pub time_ns: u64,
    /// Where it begins in the log.
    pub offset: u64,
    /// How many bytes it has.
    pub length: u32,
    /// Where it came from.
    pub stream: Stream,
}

impl Entry {
    /// The offset behind its last byte.
    pub fn end(&self) -> u64 {
        self.offset.saturating_add(u64::from(self.length))
    }

    pub(super) fn to_bytes(self) -> [u8; ENTRY_BYTES as usize] {
        let mut bytes = [0; ENTRY_BYTES as usize];
        bytes[..8].copy_from_slice(&self.time_ns.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.offset.to_le_bytes());
        bytes[16..20].copy_from_slice(&self.length.to_le_bytes());
        bytes[20] = match self.stream {
            Stream::Stdout => 1,
            Stream::Stderr => 2,
        };
        bytes
    }

    pub(super) fn from_bytes(bytes: &[u8; ENTRY_BYTES as usize]) -> Self {
        Self {
            time_ns: number(&bytes[..8]),
            offset: number(&bytes[8..16]),
            length: u32::try_from(number(&bytes[16..20])).unwrap_or(0),
            // A byte that no version writes is shown rather than lost.
            stream: if bytes[20] == 2 { Stream::Stderr } else { Stream::Stdout },
        }
    }
}

/// The header of an index.
pub(super) fn header(generation: u64) -> [u8; HEADER_BYTES as usize] {
    let mut bytes = [0; HEADER_BYTES as usize];
    bytes[..8].copy_from_slice(MAGIC);
    bytes[8..].copy_from_slice(&generation.to_le_bytes());
    bytes
}

/// The generation in a header; `None` when it is not a header of this version.
pub(super) fn generation(header: &[u8; HEADER_BYTES as usize]) -> Option<u64> {
    header.starts_with(MAGIC).then(|| number(&header[8..]))
}

fn number(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_and_headers_survive_the_disk() {
        let entry = Entry { time_ns: u64::MAX - 7, offset: 10 << 20, length: u32::MAX, stream: Stream::Stderr };
        assert_eq!(Entry::from_bytes(&entry.to_bytes()), entry);
        assert_eq!(generation(&header(9)), Some(9));
        assert_eq!(generation(&[0; 16]), None);
    }
}
