//! Pushing: blobs the registry lacks, then the manifest, which makes them an image.

use std::collections::HashMap;
use std::io::BufReader;
use std::path::Path;

use flate2::Compression;
use fs_err as fs;
use futures_util::stream;
use oci_client::Client;
use oci_client::errors::OciDistributionError;
use stack_model::ImageReference;
use tokio::io::AsyncReadExt;

use crate::content::Content;
use crate::digest::{Digest, HashingReader};
use crate::error::ImageError;
use crate::manifest::{DOCKER_LAYER, DOCKER_LAYER_GZIP, Descriptor, Manifest, OCI_LAYER, OCI_LAYER_GZIP, OCI_MANIFEST};
use crate::pull::Progress;
use crate::reference::Reference;
use crate::registry::Registry;
use crate::retry::Tries;
use crate::scratch::ScratchFile;
use crate::self_image::BUILT_IN_REGISTRY;
use crate::store::Store;

/// Bytes of a blob that are sent at once.
const CHUNK: usize = 1 << 20;

impl Store {
    /// Sends an image to its registry. Needs a tokio runtime of any kind.
    ///
    /// # Errors
    /// See [`ImageError`]. What has arrived stays in the registry, and the next try goes on from there.
    pub async fn push(
        &self,
        image: &ImageReference,
        progress: &(dyn Fn(Progress) + Send + Sync),
    ) -> Result<(), ImageError> {
        let reference = Reference::parse(image.as_str())?;
        let name = reference.to_string();
        if reference.registry() == BUILT_IN_REGISTRY {
            return Err(ImageError::BuiltIn(name));
        }
        let _lease = self.content.lease()?;
        let index = self.content.read_index()?;
        let Some(descriptor) = index.named(&name).cloned() else { return Err(ImageError::NotHere(name)) };
        let manifest = self.read_manifest(&name, &descriptor.digest)?;
        let bytes = self.content.read_document(&descriptor.digest)?;
        let packed = self.packed(manifest, bytes).await?;
        let manifest = &packed.manifest;
        let registry = Registry::new(&reference).await?;
        let pushing = Pushing { client: registry.client(), registry: &registry };
        pushing.client.store_auth_if_needed(registry.host(), &registry.push_credential().await?).await;
        let blobs: Vec<&Descriptor> = manifest.layers.iter().chain([&manifest.config]).collect();
        let total = blobs.iter().map(|blob| blob.size).sum();
        let mut done = 0;
        for (number, blob) in blobs.iter().enumerate() {
            let text = format!("{number} of {} blobs", blobs.len());
            progress(Progress { text, done, total });
            self.push_blob(&pushing, blob, packed.file(blob)).await?;
            done += blob.size;
        }
        let bytes = packed.bytes;
        let media_type = match (packed.manifest.media_type.as_str(), descriptor.media_type.as_str()) {
            ("", "") => OCI_MANIFEST,
            ("", named) => named,
            (own, _) => own,
        };
        let mut tries = Tries::default();
        while let Err(error) = pushing.push_manifest(bytes.clone(), media_type).await {
            tries.pause_after(error).await?;
            // This tells when it wants to be asked again.
            while let Err(error) = registry.has_blob(&manifest.config.digest).await {
                tries.pause_after(error).await?;
            }
        }
        progress(Progress { text: format!("{0} of {0} blobs", blobs.len()), done: total, total });
        Ok(())
    }

    /// Compresses layers that are not, as every registry expects them. The configuration, and with it the id of the
    /// image, stays the same.
    async fn packed(&self, mut manifest: Manifest, bytes: Vec<u8>) -> Result<Packed, ImageError> {
        let mut files = HashMap::new();
        for layer in &mut manifest.layers {
            let Some(media_type) = gzipped(&layer.media_type) else { continue };
            let (content, digest) = (self.content.clone(), layer.digest.clone());
            let work = tokio::task::spawn_blocking(move || compress(&content, &digest));
            let (file, digest, size) = work.await.map_err(|_| ImageError::Worker(layer.digest.to_string()))??;
            *layer = Descriptor { digest: digest.clone(), size, media_type: media_type.to_owned(), ..layer.clone() };
            files.insert(digest, file);
        }
        let bytes = match files.is_empty() {
            true => bytes,
            false => serde_json::to_vec(&manifest).expect("a manifest is made of texts and numbers"),
        };
        Ok(Packed { manifest, bytes, files })
    }

    async fn push_blob(
        &self,
        registry: &Pushing<'_>,
        blob: &Descriptor,
        packed: Option<&Path>,
    ) -> Result<(), ImageError> {
        let mut tries = Tries::default();
        loop {
            let pushed = async {
                if registry.registry.has_blob(&blob.digest).await? {
                    return Ok(());
                }
                let path = packed.map_or_else(|| self.content.blob(&blob.digest), Path::to_owned);
                let file = tokio::fs::File::open(&path).await.map_err(ImageError::store("read", &path))?;
                registry.push_blob(&blob.digest, blob.size, file).await
            };
            match pushed.await {
                Ok(()) => return Ok(()),
                Err(error) => tries.pause_after(error).await?,
            }
        }
    }
}

/// An image as it is sent.
struct Packed {
    manifest: Manifest,
    /// Of the manifest.
    bytes: Vec<u8>,
    /// Layers that were compressed for the journey.
    files: HashMap<Digest, ScratchFile>,
}

impl Packed {
    fn file(&self, blob: &Descriptor) -> Option<&Path> {
        self.files.get(&blob.digest).map(ScratchFile::path)
    }
}

/// The type of a plain layer when it is compressed.
fn gzipped(media_type: &str) -> Option<&'static str> {
    match media_type {
        OCI_LAYER => Some(OCI_LAYER_GZIP),
        DOCKER_LAYER => Some(DOCKER_LAYER_GZIP),
        _ => None,
    }
}

/// Equal layers give equal bytes: the header says nothing of time and machine.
fn compress(content: &Content, digest: &Digest) -> Result<(ScratchFile, Digest, u64), ImageError> {
    let path = content.blob(digest);
    let plain = fs::File::open(&path).map_err(ImageError::store("read", &path))?;
    let mut file = ScratchFile::new_in(&content.scratch())?;
    let target = file.path().to_owned();
    let encoder = flate2::read::GzEncoder::new(BufReader::with_capacity(CHUNK, plain), Compression::default());
    let mut reader = HashingReader::new(encoder);
    std::io::copy(&mut reader, file.file()).map_err(ImageError::store("compress", target))?;
    let (_, digest, size) = reader.finish();
    Ok((file, digest, size))
}

/// The two ways to speak to a registry.
struct Pushing<'r> {
    client: Client,
    registry: &'r Registry,
}

impl Pushing<'_> {
    async fn push_blob(&self, digest: &Digest, size: u64, file: tokio::fs::File) -> Result<(), ImageError> {
        let chunks = stream::unfold(file, |mut file| async move {
            let mut chunk = Vec::with_capacity(CHUNK);
            match (&mut file).take(CHUNK as u64).read_to_end(&mut chunk).await {
                Ok(0) => None,
                Ok(_) => Some((Ok(bytes::Bytes::from(chunk)), file)),
                Err(error) => Some((Err(OciDistributionError::IoError(error)), file)),
            }
        });
        let sent = self.client.push_blob_stream(&self.registry.target(), chunks, digest.as_str(), Some(size)).await;
        sent.map(drop).map_err(|error| self.registry.explain(error))
    }

    async fn push_manifest(&self, bytes: Vec<u8>, media_type: &str) -> Result<(), ImageError> {
        let media_type = media_type.parse().expect("it came out of a manifest that was read as one");
        let sent = self.client.push_manifest_raw(&self.registry.target(), bytes, media_type).await;
        sent.map(drop).map_err(|error| self.registry.explain(error))
    }
}
