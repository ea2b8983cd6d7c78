//! Pulling: resolve the name, fetch what is missing, layers side by side, and only then give the image its name.

use std::num::NonZeroUsize;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use futures_util::StreamExt;
use futures_util::stream;
use stack_model::{ImageFacts, ImageReference, Now};
use tokio::sync::mpsc;

use crate::config::Parsed;
use crate::digest::Digest;
use crate::error::{BadDocument, ImageError};
use crate::fetch::{Cancel, Chunk, LayerWork, Need, chunks};
use crate::manifest::{DOCUMENT_MAX, Descriptor, Document, DocumentError, Manifest, parse_document};
use crate::reference::Reference;
use crate::refused::Added;
use crate::registry::Registry;
use crate::resolve::{check_config, choose, keep_image, plan_layers};
use crate::retry::Tries;
use crate::self_image::BUILT_IN_REGISTRY;
use crate::store::Store;

/// Layers that are fetched and unpacked at the same time: as many as there are processors, within these bounds. A few
/// more than two keep the disk busy while another waits for the network.
const PARALLEL_MIN: usize = 3;
const PARALLEL_MAX: usize = 8;
/// Connections that may break while one blob comes.
const RESUMES_MAX: u32 = 50;
/// Between two reports of progress.
const REPORT_EVERY: Duration = Duration::from_millis(100);

/// How far a pull is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    /// In words, such as `3 of 5 layers`.
    pub text: String,
    /// Compressed bytes received or already here.
    pub done: u64,
    /// Compressed bytes in all; 0 when unknown.
    pub total: u64,
}

impl Store {
    /// Fetches the image from its registry and unpacks it. Content that is here already is not fetched again; several
    /// processes that pull the same content do it once. Needs a tokio runtime of any kind; the heavy work is done on
    /// its blocking threads.
    ///
    /// # Errors
    /// See [`ImageError`]. Nothing half-made is left.
    pub async fn pull(
        &self,
        image: &ImageReference,
        progress: &(dyn Fn(Progress) + Send + Sync),
    ) -> Result<ImageFacts, ImageError> {
        let reference = Reference::parse(image.as_str())?;
        if reference.registry() == BUILT_IN_REGISTRY {
            return Err(ImageError::BuiltIn(reference.to_string()));
        }
        progress(Progress { text: format!("asking {}", reference.registry()), done: 0, total: 0 });
        let added = Added::new(&self.content);
        let pulled = self.pull_leased(&reference, &added, progress).await;
        if let Err(error) = &pulled {
            self.note_refusal(error, added);
        }
        self.discard_refused();
        pulled
    }

    async fn pull_leased(
        &self,
        reference: &Reference,
        added: &Added,
        progress: &(dyn Fn(Progress) + Send + Sync),
    ) -> Result<ImageFacts, ImageError> {
        let leasing = self.content.clone();
        let lease = tokio::task::spawn_blocking(move || leasing.lease()).await;
        let _lease = lease.map_err(|_| ImageError::Worker(reference.to_string()))??;
        let content = self.content.clone();
        let sweeping = tokio::task::spawn_blocking(move || content.sweep());
        let registry = Registry::new(reference).await?;
        let pull = Pull { store: self, name: reference.to_string(), registry };
        let found = pull.resolve().await?;
        sweeping.await.map_err(|_| pull.worker_died())?;
        let layers = plan_layers(&self.content, &pull.name, &found.manifest, &found.config, added)?;
        pull.fetch_layers(layers, &Report::new(&found.manifest, progress)).await?;
        pull.keep(found).await
    }
}

/// A pull under way.
struct Pull<'s> {
    store: &'s Store,
    name: String,
    registry: Registry,
}

/// What a name means.
struct Found {
    manifest: Manifest,
    manifest_bytes: Vec<u8>,
    config_bytes: Vec<u8>,
    config: Parsed,
}

impl Pull<'_> {
    async fn resolve(&self) -> Result<Found, ImageError> {
        let (bytes, digest) = self.registry.document(None).await?;
        let (manifest, manifest_bytes) = match self.parse(&bytes, &digest)? {
            Document::Manifest(manifest) => (manifest, bytes),
            Document::Index(index) => {
                let chosen = choose(&self.name, &index)?;
                let (bytes, digest) = self.registry.document(Some(&chosen.digest)).await?;
                self.check_size("manifest", chosen.size, &bytes)?;
                match self.parse(&bytes, &digest)? {
                    Document::Manifest(manifest) => (manifest, bytes),
                    Document::Index(_) => return Err(self.bad_manifest(&digest, DocumentError::Nested)),
                }
            }
        };
        let digest = Digest::of(&manifest_bytes);
        manifest.check_kind().map_err(|error| self.bad_manifest(&digest, error))?;
        let config_bytes = self.config(&manifest.config).await?;
        let config = check_config(&self.name, &manifest.config.digest, &config_bytes)?;
        Ok(Found { manifest, manifest_bytes, config_bytes, config })
    }

    fn parse(&self, bytes: &[u8], digest: &Digest) -> Result<Document, ImageError> {
        parse_document(bytes).map_err(|error| self.bad_manifest(digest, error))
    }

    fn bad_manifest(&self, digest: &Digest, error: DocumentError) -> ImageError {
        ImageError::Manifest { reference: self.name.clone(), digest: digest.to_string(), source: BadDocument(error) }
    }

    async fn config(&self, descriptor: &Descriptor) -> Result<Vec<u8>, ImageError> {
        let (what, size, max) = ("configuration", descriptor.size, DOCUMENT_MAX);
        if size > max {
            return Err(ImageError::TooLarge { what, reference: self.name.clone(), size, max });
        }
        if self.store.content.has_blob(&descriptor.digest, size) {
            return self.store.content.read_document(&descriptor.digest);
        }
        let mut bytes = Vec::new();
        let (sender, mut receiver) = mpsc::channel::<Chunk>(1);
        let take = async {
            while let Some(chunk) = receiver.recv().await {
                bytes.extend_from_slice((*chunk).as_ref());
                // More than promised is never right; ending here ends the sender, too.
                if bytes.len() as u64 > size {
                    break;
                }
            }
            drop(receiver);
        };
        let (sent, ()) = futures_util::future::join(self.send(descriptor, sender, &|_| {}), take).await;
        sent?;
        let found = Digest::of(&bytes);
        if found != descriptor.digest {
            return Err(self.registry.mismatch(what, &descriptor.digest, found.as_str()));
        }
        self.check_size(what, size, &bytes)?;
        Ok(bytes)
    }

    fn check_size(&self, what: &'static str, promised: u64, bytes: &[u8]) -> Result<(), ImageError> {
        if bytes.len() as u64 == promised {
            return Ok(());
        }
        let (expected, found) = (format!("{promised} bytes"), format!("{} bytes", bytes.len()));
        Err(ImageError::Mismatch { what, reference: self.name.clone(), expected, found })
    }

    /// Fetches all layers. After the first failure the others end early, but are waited for: their threads clean up.
    async fn fetch_layers(&self, layers: Vec<LayerWork>, report: &Report<'_>) -> Result<(), ImageError> {
        let cancel = layers.first().map(|layer| layer.cancel.clone()).unwrap_or_default();
        let _cancel_when_dropped = CancelOnDrop(cancel.clone());
        let parallel = std::thread::available_parallelism().map_or(PARALLEL_MIN, NonZeroUsize::get);
        let fetches = layers.into_iter().map(|layer| self.fetch_layer(layer, report));
        let mut fetches = stream::iter(fetches).buffer_unordered(parallel.clamp(PARALLEL_MIN, PARALLEL_MAX));
        let mut first_failure = None;
        while let Some(result) = fetches.next().await {
            if let Err(error) = result {
                cancel.cancel();
                first_failure.get_or_insert(error);
            }
        }
        first_failure.map_or(Ok(()), Err)
    }

    async fn fetch_layer(&self, layer: LayerWork, report: &Report<'_>) -> Result<(), ImageError> {
        if layer.cancel.is_cancelled() {
            return Ok(());
        }
        let descriptor = layer.descriptor.clone();
        let looking = layer.clone();
        let need = tokio::task::spawn_blocking(move || looking.begin()).await.map_err(|_| self.worker_died())??;
        match need {
            Need::Nothing => report.add(descriptor.size),
            Need::Unpack(lock) => {
                let work = tokio::task::spawn_blocking(move || {
                    let _lock = lock;
                    layer.unpack_stored()
                });
                work.await.map_err(|_| self.worker_died())??;
                report.add(descriptor.size);
            }
            Need::Receive { lock, unpack } => {
                let (sender, reader) = chunks();
                let work = tokio::task::spawn_blocking(move || {
                    let _lock = lock;
                    layer.receive(reader, unpack)
                });
                let add = |bytes| report.add(bytes);
                let (sent, stored) = futures_util::future::join(self.send(&descriptor, sender, &add), work).await;
                // A download that broke is why the other end found a damaged layer.
                sent?;
                stored.map_err(|_| self.worker_died())??;
            }
        }
        report.layer_done();
        Ok(())
    }

    /// Sends the bytes of a blob, on from where a connection broke. A receiver that hangs up has its own reason.
    async fn send(
        &self,
        descriptor: &Descriptor,
        sender: mpsc::Sender<Chunk>,
        report: &(dyn Fn(u64) + Send + Sync),
    ) -> Result<(), ImageError> {
        let (mut offset, mut tries, mut resumes) = (0, Tries::default(), 0);
        while offset < descriptor.size {
            let (mut answer, mut skip) = match self.registry.blob(&descriptor.digest, offset).await {
                // Where the registry does not know ranges, what is here already comes once more.
                Ok((answer, start)) => (answer, offset - start),
                Err(error) => {
                    tries.pause_after(error).await?;
                    continue;
                }
            };
            let mut broke = None;
            loop {
                let chunk = match answer.chunk().await {
                    Ok(Some(chunk)) => chunk,
                    Ok(None) => break,
                    Err(error) => {
                        broke = Some(self.registry.broke(error));
                        break;
                    }
                };
                let length = chunk.len() as u64;
                let skipped = skip.min(length);
                skip -= skipped;
                let start = usize::try_from(skipped).unwrap_or(chunk.len());
                if sender.send(Box::new(chunk.slice(start..))).await.is_err() {
                    return Ok(());
                }
                offset += length - skipped;
                report(length - skipped);
                tries.reset();
            }
            match broke {
                Some(error) if resumes == RESUMES_MAX => return Err(error),
                Some(error) => tries.pause_after(error).await?,
                // It ended in good order; if it is too short, the check of its size says so.
                None => return Ok(()),
            }
            resumes += 1;
        }
        Ok(())
    }

    async fn keep(&self, found: Found) -> Result<ImageFacts, ImageError> {
        let (content, name) = (self.store.content.clone(), self.name.clone());
        let work = tokio::task::spawn_blocking(move || {
            let platform = found.config.platform;
            keep_image(&content, &name, &found.config_bytes, &found.manifest_bytes, platform, Some(now()))
        });
        let digest = work.await.map_err(|_| self.worker_died())??;
        self.store.read_facts(&self.name, &digest)
    }

    fn worker_died(&self) -> ImageError {
        ImageError::Worker(self.name.clone())
    }
}

/// Milliseconds since the epoch.
fn now() -> Now {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Now(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// Whoever stops waiting for a pull stops it.
struct CancelOnDrop(Cancel);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

/// Sums up what the layers report.
struct Report<'p> {
    progress: &'p (dyn Fn(Progress) + Send + Sync),
    total: u64,
    layers: usize,
    state: Mutex<ReportState>,
}

struct ReportState {
    done: u64,
    layers_done: usize,
    last: Instant,
}

impl<'p> Report<'p> {
    fn new(manifest: &Manifest, progress: &'p (dyn Fn(Progress) + Send + Sync)) -> Self {
        let total = manifest.layers.iter().map(|layer| layer.size).sum();
        let state = ReportState { done: 0, layers_done: 0, last: Instant::now() };
        Self { progress, total, layers: manifest.layers.len(), state: Mutex::new(state) }
    }

    fn add(&self, bytes: u64) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.done += bytes;
        if state.last.elapsed() >= REPORT_EVERY {
            state.last = Instant::now();
            self.tell(&state);
        }
    }

    fn layer_done(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.layers_done += 1;
        self.tell(&state);
    }

    fn tell(&self, state: &ReportState) {
        let text = format!("{} of {} layers", state.layers_done, self.layers);
        (self.progress)(Progress { text, done: state.done, total: self.total });
    }
}
