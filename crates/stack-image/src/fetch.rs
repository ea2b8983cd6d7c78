//! One layer: its bytes come from a registry, an archive or the store, and flow through all checks to both places.
//!
//! ```text
//!   chunks --> tee into images/.tmp --> sha256 --> decompress --> sha256 --> untar into layers/.tmp
//!                     | equal to the digest?             | equal to the diff id?
//!                     v                                  v
//!              images/blobs/sha256/                   layers/
//! ```

use std::io::{self, BufReader, Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use fs_err as fs;
use tokio::sync::mpsc;

use crate::content::Content;
use crate::digest::{Digest, HashingReader};
use crate::error::ImageError;
use crate::layer;
use crate::lock::Lock;
use crate::manifest::{Compression, Descriptor};
use crate::refused::Added;
use crate::scratch::{ScratchDirectory, ScratchFile};
use crate::unpack::{Limits, UnpackError, unpack_confined};

/// Bytes read at once from a compressed layer.
const BUFFER: usize = 256 << 10;
/// Largest zstd window that a layer may ask for, as a power of two in bytes; several layers are unpacked at once. The
/// levels below `--ultra -20` need less.
const WINDOW_LOG_MAX: u32 = 25;
/// Chunks of a download that may wait for the disk.
const CHUNKS_WAITING_MAX: usize = 16;

/// Tells everyone who works on an image that it is no longer wanted.
#[derive(Debug, Clone, Default)]
pub(crate) struct Cancel(Arc<AtomicBool>);

impl Cancel {
    pub(crate) fn cancel(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// A layer of an image.
#[derive(Debug, Clone)]
pub(crate) struct LayerWork {
    pub(crate) content: Content,
    /// The image, for messages.
    pub(crate) reference: String,
    pub(crate) descriptor: Descriptor,
    pub(crate) diff_id: Digest,
    pub(crate) compression: Compression,
    pub(crate) cancel: Cancel,
    /// Told of what is made.
    pub(crate) added: Added,
}

/// What is missing of a layer. The lock keeps others from the same work.
#[derive(Debug)]
pub(crate) enum Need {
    Nothing,
    /// The bytes are here; they need to be unpacked.
    Unpack(Lock),
    /// The bytes need to come; `unpack` too unless the layer came with another blob.
    Receive {
        lock: Lock,
        unpack: bool,
    },
}

impl LayerWork {
    /// Waits for others who work on the same layer, then looks at what is left to do.
    pub(crate) fn begin(&self) -> Result<Need, ImageError> {
        let is_done = || {
            let has_blob = self.content.has_blob(&self.descriptor.digest, self.descriptor.size);
            (has_blob, layer::is_whole(&self.content, &self.diff_id))
        };
        if is_done() == (true, true) {
            return Ok(Need::Nothing);
        }
        let lock = self.content.lock(&self.diff_id)?;
        Ok(match is_done() {
            (true, true) => Need::Nothing,
            (true, false) => Need::Unpack(lock),
            (false, whole) => Need::Receive { lock, unpack: !whole },
        })
    }

    /// Unpacks from the blob in the store. A blob that turns out damaged is removed, so that the next pull fetches it.
    pub(crate) fn unpack_stored(&self) -> Result<(), ImageError> {
        let path = self.content.blob(&self.descriptor.digest);
        let file = fs::File::open(&path).map_err(ImageError::store("read", &path))?;
        let mut reader = HashingReader::new(Cancelling { inner: file, cancel: self.cancel.clone() });
        let result = self.unpack_checked(&mut reader);
        let checked = self.check_blob(reader, None);
        if checked.is_err() && !self.cancel.is_cancelled() {
            drop(fs::remove_file(&path));
        }
        checked?;
        let scratch = result?;
        self.keep_layer(&scratch)
    }

    fn keep_layer(&self, scratch: &ScratchDirectory) -> Result<(), ImageError> {
        self.added.layer(&self.diff_id);
        layer::keep_layer(&self.content, scratch, &self.diff_id)
    }

    /// Takes the bytes, keeps the blob, and unpacks it on the way.
    pub(crate) fn receive(&self, source: impl Read + Send, unpack: bool) -> Result<(), ImageError> {
        let mut blob = ScratchFile::new_in(&self.content.scratch())?;
        let path = blob.path().to_owned();
        let source = Cancelling { inner: source, cancel: self.cancel.clone() };
        // One byte more than promised shows that there is more.
        let source = HashingReader::new(source.take(self.descriptor.size.saturating_add(1)));
        let mut tee = Tee { inner: source, copy: blob.file(), failed: None };
        let result = if unpack {
            self.unpack_checked(&mut tee).map(Some)
        } else {
            io::copy(&mut tee, &mut io::sink()).map(|_| None).map_err(|source| self.damaged(source))
        };
        let Tee { inner, failed, .. } = tee;
        if let Some(source) = failed {
            return Err(ImageError::Store { action: "write", path, source });
        }
        self.check_blob(inner, result.as_ref().err())?;
        let scratch = result?;
        self.added.blob(&self.descriptor.digest);
        layer::keep_blob(&self.content, blob, &self.descriptor.digest)?;
        match scratch {
            Some(scratch) => self.keep_layer(&scratch),
            None => Ok(()),
        }
    }

    /// Unpacks into a private directory and checks the diff id; reads the blob to its end.
    fn unpack_checked(&self, blob: &mut (impl Read + Send)) -> Result<ScratchDirectory, ImageError> {
        let scratch = ScratchDirectory::new_in(&self.content.layer_scratch())?;
        let root = layer::make_root(&scratch)?;
        let limits = Limits { compressed: self.descriptor.size, ..Limits::default() };
        let mut plain = HashingReader::new(self.decompress(blob)?);
        let result = unpack_confined(&mut plain, &root, &limits);
        let (_, found, _) = plain.finish();
        // The digest of the blob needs all of it. What cannot be read is found out there.
        drop(io::copy(blob, &mut io::sink()));
        result.map_err(|source| self.unpack_error(source))?;
        if found != self.diff_id {
            return Err(self.mismatch("unpacked layer", self.diff_id.as_str(), found.as_str()));
        }
        Ok(scratch)
    }

    fn decompress<'r>(&self, blob: &'r mut (impl Read + Send)) -> Result<Box<dyn Read + Send + 'r>, ImageError> {
        let buffered = BufReader::with_capacity(BUFFER, blob);
        Ok(match self.compression {
            Compression::None => Box::new(buffered),
            // Parallel compressors write one member after another (RFC 1952 2.2).
            Compression::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(buffered)),
            Compression::Zstd => {
                let mut decoder =
                    zstd::stream::read::Decoder::with_buffer(buffered).map_err(|source| self.damaged(source))?;
                decoder.window_log_max(WINDOW_LOG_MAX).map_err(|source| self.damaged(source))?;
                Box::new(decoder)
            }
        })
    }

    /// The blob is what the manifest promises. A broken blob explains an unpacking that failed, not the other way
    /// around; but one that was refused early was not read to its end, and says nothing.
    fn check_blob<R: Read>(&self, reader: HashingReader<R>, failure: Option<&ImageError>) -> Result<(), ImageError> {
        let (_, found, size) = reader.finish();
        if failure.is_some() && size < self.descriptor.size {
            return Ok(());
        }
        if size != self.descriptor.size {
            let (expected, found) = (format!("{} bytes", self.descriptor.size), format!("{size} bytes or more"));
            return Err(self.mismatch("layer", &expected, &found));
        }
        if found != self.descriptor.digest {
            return Err(self.mismatch("layer", self.descriptor.digest.as_str(), found.as_str()));
        }
        Ok(())
    }

    fn mismatch(&self, what: &'static str, expected: &str, found: &str) -> ImageError {
        let (expected, found) = (expected.to_owned(), found.to_owned());
        ImageError::Mismatch { what, reference: self.reference.clone(), expected, found }
    }

    fn damaged(&self, source: io::Error) -> ImageError {
        self.unpack_error(UnpackError::Damaged { entries: 0, source })
    }

    fn unpack_error(&self, source: UnpackError) -> ImageError {
        let digest = self.descriptor.digest.to_string();
        ImageError::Unpack { reference: self.reference.clone(), digest, source }
    }
}

/// Copies into the store what is read; trouble there is kept apart from trouble with the source.
struct Tee<'f, R> {
    inner: R,
    copy: &'f mut fs::File,
    failed: Option<io::Error>,
}

impl<R: Read> Read for Tee<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.failed.is_some() {
            return Err(io::Error::other("the copy failed before"));
        }
        let count = self.inner.read(buffer)?;
        if let Err(error) = self.copy.write_all(&buffer[..count]) {
            self.failed = Some(error);
            return Err(io::Error::other("the copy failed"));
        }
        Ok(count)
    }
}

/// Ends early when the image is no longer wanted.
struct Cancelling<R> {
    inner: R,
    cancel: Cancel,
}

impl<R: Read> Read for Cancelling<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.cancel.is_cancelled() {
            return Err(io::Error::other("cancelled"));
        }
        self.inner.read(buffer)
    }
}

/// A piece of a download.
pub(crate) type Chunk = Box<dyn AsRef<[u8]> + Send>;

/// From the event loop, where bytes arrive, to the thread that unpacks them.
pub(crate) fn chunks() -> (mpsc::Sender<Chunk>, ChunkReader) {
    let (sender, receiver) = mpsc::channel(CHUNKS_WAITING_MAX);
    (sender, ChunkReader { receiver, current: Box::new([]), read: 0 })
}

/// Reads what the other end sends; its end is the end.
pub(crate) struct ChunkReader {
    receiver: mpsc::Receiver<Chunk>,
    current: Chunk,
    read: usize,
}

impl Read for ChunkReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.read == (*self.current).as_ref().len() {
            match self.receiver.blocking_recv() {
                Some(chunk) => (self.current, self.read) = (chunk, 0),
                None => return Ok(0),
            }
        }
        let rest = &(*self.current).as_ref()[self.read..];
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        self.read += count;
        Ok(count)
    }
}
