//! Bounds what is read from a layer, and what tar reads into memory between two entries.

use std::cell::Cell;
use std::io::{self, Read, Seek, SeekFrom};

/// Most bytes of headers and their extensions for one entry: long names, extended attributes. An attribute of a file
/// has at most 64 KiB (xattr(7)).
pub(super) const HEADER_MAX: u64 = 1 << 20;

/// Shared by the reader inside the archive and the loop outside.
#[derive(Debug)]
pub(crate) struct Meter {
    total: Cell<u64>,
    total_max: u64,
    /// Left for headers; `None` while content is read.
    header_left: Cell<Option<u64>>,
    exceeded: Cell<bool>,
}

impl Meter {
    pub(crate) fn new(total_max: u64) -> Self {
        Self { total: Cell::new(0), total_max, header_left: Cell::new(None), exceeded: Cell::new(false) }
    }

    pub(crate) fn expect_header(&self) {
        self.header_left.set(Some(HEADER_MAX));
    }

    pub(crate) fn expect_content(&self) {
        self.header_left.set(None);
    }

    pub(crate) fn total(&self) -> u64 {
        self.total.get()
    }

    pub(crate) fn is_exceeded(&self) -> bool {
        self.exceeded.get()
    }

    pub(crate) fn is_header_exceeded(&self) -> bool {
        self.exceeded.get() && self.header_left.get() == Some(0)
    }

    fn count(&self, bytes: usize) -> io::Result<()> {
        let bytes = bytes as u64;
        self.total.set(self.total.get().saturating_add(bytes));
        let header_left = self.header_left.get().map(|left| left.saturating_sub(bytes));
        self.header_left.set(header_left);
        if self.total.get() > self.total_max || header_left == Some(0) {
            self.exceeded.set(true);
            return Err(io::Error::other("a limit was passed"));
        }
        Ok(())
    }
}

/// A reader that reports to a meter.
#[derive(Debug)]
pub(crate) struct Metered<'m, R> {
    inner: R,
    meter: &'m Meter,
}

impl<'m, R: Read> Metered<'m, R> {
    pub(crate) fn new(inner: R, meter: &'m Meter) -> Self {
        Self { inner, meter }
    }
}

impl<R: Read> Read for Metered<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.meter.count(count)?;
        Ok(count)
    }
}

impl<R: Seek> Seek for Metered<'_, R> {
    fn seek(&mut self, position: SeekFrom) -> io::Result<u64> {
        self.inner.seek(position)
    }
}
