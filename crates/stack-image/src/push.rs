//! Pushing: blobs the registry lacks, then the manifest, which makes them an image.

use futures_util::stream;
use oci_client::Client;
use oci_client::errors::OciDistributionError;
use stack_model::ImageReference;
use tokio::io::AsyncReadExt;

use crate::digest::Digest;
use crate::error::ImageError;
use crate::manifest::{Descriptor, OCI_MANIFEST};
use crate::pull::Progress;
use crate::reference::Reference;
use crate::registry::Registry;
use crate::retry::Tries;
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
        let registry = Registry::new(&reference).await?;
        let pushing = Pushing { client: registry.client(), registry: &registry };
        pushing.client.store_auth_if_needed(registry.host(), &registry.push_credential().await?).await;
        let blobs: Vec<&Descriptor> = manifest.layers.iter().chain([&manifest.config]).collect();
        let total = blobs.iter().map(|blob| blob.size).sum();
        let mut done = 0;
        for (number, blob) in blobs.iter().enumerate() {
            let text = format!("{number} of {} blobs", blobs.len());
            progress(Progress { text, done, total });
            self.push_blob(&pushing, blob).await?;
            done += blob.size;
        }
        let media_type = match (manifest.media_type.as_str(), descriptor.media_type.as_str()) {
            ("", "") => OCI_MANIFEST,
            ("", named) => named,
            (own, _) => own,
        };
        pushing.push_manifest(bytes, media_type).await?;
        progress(Progress { text: format!("{0} of {0} blobs", blobs.len()), done: total, total });
        Ok(())
    }

    async fn push_blob(&self, registry: &Pushing<'_>, blob: &Descriptor) -> Result<(), ImageError> {
        let mut tries = Tries::default();
        loop {
            let pushed = async {
                if registry.has_blob(&blob.digest).await? {
                    return Ok(());
                }
                let path = self.content.blob(&blob.digest);
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

/// The two ways to speak to a registry.
struct Pushing<'r> {
    client: Client,
    registry: &'r Registry,
}

impl Pushing<'_> {
    async fn has_blob(&self, digest: &Digest) -> Result<bool, ImageError> {
        let found = self.client.blob_exists(&self.registry.target(), digest.as_str()).await;
        found.map_err(|error| self.registry.explain(error))
    }

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
