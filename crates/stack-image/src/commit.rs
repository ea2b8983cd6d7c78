//! Images that are made here: layers and configurations go into the store under the same rules as what is pulled.

use std::io::{self, BufWriter, Write};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use stack_model::{DiffId, ImageFacts, ImageId, ImageReference};

use crate::content::Content;
use crate::digest::Digest;
use crate::error::{BadConfig, BadDocument, ImageError};
use crate::fetch::{Cancel, LayerWork};
use crate::layer;
use crate::manifest::{Compression, Descriptor, DocumentError, Manifest, OCI_CONFIG, OCI_LAYER};
use crate::reference::Reference;
use crate::refused::Added;
use crate::resolve::{check_config, keep_image};
use crate::scratch::ScratchFile;
use crate::self_image::BUILT_IN_REGISTRY;
use crate::store::Store;

/// Bytes of a layer that are written at once.
const BUFFER: usize = 256 << 10;

/// A layer of the store: its blob, and what it unpacks to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredLayer {
    descriptor: Descriptor,
    diff_id: Digest,
}

impl StoredLayer {
    pub(crate) fn digests(&self) -> (&Digest, &Digest) {
        (&self.descriptor.digest, &self.diff_id)
    }

    /// The digest of the uncompressed layer.
    pub fn diff_id(&self) -> DiffId {
        DiffId::new(self.diff_id.as_str())
    }
}

/// An image as its documents describe it.
#[derive(Debug, Clone)]
pub struct ImageDocuments {
    /// The configuration, whole.
    pub config: Value,
    /// Layers, the lowest first.
    pub layers: Vec<StoredLayer>,
}

impl Store {
    /// The documents of an image that has a name here.
    ///
    /// # Errors
    /// The reference is wrong, or the store is damaged.
    pub fn documents(&self, reference: &ImageReference) -> Result<Option<ImageDocuments>, ImageError> {
        let name = Reference::parse(reference.as_str())?.to_string();
        let index = self.content.read_index()?;
        let Some(descriptor) = index.named(&name) else { return Ok(None) };
        let manifest = self.read_manifest(&name, &descriptor.digest)?;
        let bytes = self.content.read_document(&manifest.config.digest)?;
        let parsed = check_config(&name, &manifest.config.digest, &bytes)?;
        let config = serde_json::from_slice(&bytes).map_err(|error| ImageError::Config {
            reference: name.clone(),
            digest: manifest.config.digest.to_string(),
            source: BadConfig(error.into()),
        })?;
        if manifest.layers.len() != parsed.diff_ids.len() {
            return Err(ImageError::Mismatch {
                what: "configuration",
                reference: name,
                expected: format!("{} layers", manifest.layers.len()),
                found: format!("{} layers", parsed.diff_ids.len()),
            });
        }
        let layers = manifest.layers.into_iter().zip(parsed.diff_ids);
        let layers = layers.map(|(descriptor, diff_id)| StoredLayer { descriptor, diff_id });
        Ok(Some(ImageDocuments { config, layers: layers.collect() }))
    }

    /// Adds a layer: `write` writes its tar, and says whether there was anything to write.
    ///
    /// # Errors
    /// It cannot be written, or it holds what no layer may hold.
    pub fn add_layer(
        &self,
        write: impl FnOnce(&mut dyn Write) -> io::Result<bool>,
    ) -> Result<Option<StoredLayer>, ImageError> {
        let content = &self.content;
        let mut blob = ScratchFile::new_in(&content.scratch())?;
        let path = blob.path().to_owned();
        let failed = |source| ImageError::Store { action: "write", path: path.clone(), source };
        let mut hashing = HashingWriter { inner: blob.file(), hasher: Sha256::new(), count: 0 };
        let mut buffered = BufWriter::with_capacity(BUFFER, &mut hashing);
        let any = write(&mut buffered).and_then(|any| buffered.flush().map(|()| any)).map_err(failed)?;
        drop(buffered);
        if !any {
            return Ok(None);
        }
        let HashingWriter { hasher, count, .. } = hashing;
        let digest = Digest::from_hasher(hasher);
        let layer = StoredLayer { descriptor: Descriptor::new(OCI_LAYER, digest.clone(), count), diff_id: digest };
        let _lock = content.lock(&layer.diff_id)?;
        layer::keep_blob(content, blob, &layer.diff_id)?;
        if !layer::is_whole(content, &layer.diff_id) {
            unpacking(content, &layer).unpack_stored()?;
        }
        Ok(Some(layer))
    }

    /// Blob and unpacked layer are both here.
    pub fn has_layer(&self, layer: &StoredLayer) -> bool {
        self.content.has_blob(&layer.descriptor.digest, layer.descriptor.size)
            && layer::is_whole(&self.content, &layer.diff_id)
    }

    /// Adds an image of layers that are here, under these names; without one it is only kept as content.
    ///
    /// # Errors
    /// A name is wrong, the configuration is not one, or the store cannot be written.
    pub fn add_image(
        &self,
        config: &Value,
        layers: &[StoredLayer],
        names: &[ImageReference],
    ) -> Result<ImageFacts, ImageError> {
        let bytes = serde_json::to_vec(config).expect("JSON can be written");
        let digest = Digest::of(&bytes);
        let shown = names.first().map_or_else(|| digest.to_string(), ToString::to_string);
        let parsed = check_config(&shown, &digest, &bytes)?;
        if !parsed.diff_ids.iter().eq(layers.iter().map(|layer| &layer.diff_id)) {
            let source = BadDocument(DocumentError::Kind);
            return Err(ImageError::Manifest { reference: shown, digest: digest.to_string(), source });
        }
        let descriptor = Descriptor::new(OCI_CONFIG, digest.clone(), bytes.len() as u64);
        let manifest = Manifest::new(descriptor, layers.iter().map(|layer| layer.descriptor.clone()).collect());
        let manifest = serde_json::to_vec(&manifest).expect("a manifest is made of texts and numbers");
        self.content.put(&bytes)?;
        self.content.put(&manifest)?;
        for name in names {
            let name = Reference::parse(name.as_str())?;
            if name.registry() == BUILT_IN_REGISTRY {
                return Err(ImageError::BuiltIn(name.to_string()));
            }
            keep_image(&self.content, &name.to_string(), &bytes, &manifest, parsed.platform.clone(), None)?;
        }
        Ok(ImageFacts {
            id: ImageId::new(digest),
            layers: layers.iter().map(StoredLayer::diff_id).collect(),
            config: parsed.config,
        })
    }
}

fn unpacking(content: &Content, layer: &StoredLayer) -> LayerWork {
    LayerWork {
        content: content.clone(),
        reference: "the new layer".to_owned(),
        descriptor: layer.descriptor.clone(),
        diff_id: layer.diff_id.clone(),
        compression: Compression::None,
        cancel: Cancel::default(),
        added: Added::default(),
    }
}

struct HashingWriter<W> {
    inner: W,
    hasher: Sha256,
    count: u64,
}

impl<W: Write> Write for HashingWriter<W> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let count = self.inner.write(buffer)?;
        self.hasher.update(&buffer[..count]);
        self.count += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}
