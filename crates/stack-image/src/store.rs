//! What others ask of the store.

use std::collections::HashMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use fs_err as fs;
use stack_model::{Bytes, DiffId, ImageFacts, ImageId, ImageReference, Layout};

use crate::config::parse_config;
use crate::content::Content;
use crate::digest::Digest;
use crate::error::{BadConfig, BadDocument, ImageError};
use crate::fetch::Need;
use crate::layer;
use crate::manifest::{Descriptor, Document, DocumentError, Manifest, REF_NAME, parse_document};
use crate::reference::Reference;
use crate::refused::Added;
use crate::resolve::{check_config, choose, plan_layers, settle_later};

/// The images of one installation. Several processes may use the same one at the same time.
#[derive(Debug)]
pub struct Store {
    pub(crate) content: Content,
    cache: Mutex<Cache>,
    /// What images have added that were refused.
    pub(crate) refused: Mutex<Vec<Added>>,
}

/// An image that has a name in the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredImage {
    /// Its name, every default filled in.
    pub reference: ImageReference,
    /// Digest of its configuration.
    pub id: ImageId,
    /// Its compressed layers and configuration together.
    pub size: Bytes,
    /// Every layer is unpacked.
    pub is_unpacked: bool,
}

/// What was parsed from an index that has not changed since.
#[derive(Debug, Default)]
struct Cache {
    stamp: Option<Stamp>,
    manifests: HashMap<String, Digest>,
    facts: HashMap<Digest, ImageFacts>,
}

/// The index is replaced by rename, so a change gives it another inode.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stamp {
    inode: u64,
    modified_ns: i64,
    size: u64,
}

fn bad_manifest(name: &str, digest: &Digest) -> impl FnOnce(DocumentError) -> ImageError {
    let (reference, digest) = (name.to_owned(), digest.to_string());
    |error| ImageError::Manifest { reference, digest, source: BadDocument(error) }
}

impl Stamp {
    pub(crate) fn of(path: &Path) -> std::io::Result<Self> {
        let metadata = fs::metadata(path)?;
        let modified_ns = metadata.mtime().saturating_mul(1_000_000_000).saturating_add(metadata.mtime_nsec());
        Ok(Self { inode: metadata.ino(), modified_ns, size: metadata.len() })
    }
}

impl Store {
    /// Opens the store and makes what is missing of it.
    ///
    /// # Errors
    /// When a directory cannot be made.
    pub fn open(layout: &Layout) -> Result<Self, ImageError> {
        Ok(Self { content: Content::open(layout)?, cache: Mutex::default(), refused: Mutex::default() })
    }

    /// The image if all of it is here; layers that are not unpacked are unpacked first. Costs one stat of the index and two per layer when the
    /// index has not changed since the last call.
    ///
    /// # Errors
    /// When the reference is wrong or the store is damaged.
    pub fn find(&self, reference: &ImageReference) -> Result<Option<ImageFacts>, ImageError> {
        let name = Reference::parse(reference.as_str())?.to_string();
        let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        self.refresh(&mut cache)?;
        let Some(digest) = cache.manifests.get(&name).cloned() else { return Ok(None) };
        let facts = match cache.facts.get(&digest) {
            Some(facts) => facts.clone(),
            None => {
                let facts = self.read_facts(&name, &digest)?;
                cache.facts.insert(digest.clone(), facts.clone());
                facts
            }
        };
        drop(cache);
        let is_here = self.is_unpacked(&facts) || self.unpack_here(&name, &digest)?;
        Ok(is_here.then_some(facts))
    }

    /// Unpacks what another tool has brought, or what a power failure may have damaged, from its blobs; `false` when
    /// some are missing.
    fn unpack_here(&self, name: &str, digest: &Digest) -> Result<bool, ImageError> {
        let manifest = self.read_manifest(name, digest)?;
        if !manifest.layers.iter().all(|layer| self.content.has_blob(&layer.digest, layer.size)) {
            return Ok(false);
        }
        let _lease = self.content.lease()?;
        let bytes = self.content.read_document(&manifest.config.digest)?;
        let config = check_config(name, &manifest.config.digest, &bytes)?;
        for layer in plan_layers(&self.content, name, &manifest, &config, &Added::default())? {
            match layer.begin()? {
                Need::Nothing => {}
                Need::Receive { .. } => return Ok(false),
                Need::Unpack(_lock) => match layer.unpack_stored() {
                    // The blob was damaged and is gone: it has to be fetched.
                    Err(ImageError::Mismatch { .. }) => return Ok(false),
                    unpacked => unpacked?,
                },
            }
        }
        settle_later(&self.content);
        Ok(true)
    }

    fn is_unpacked(&self, facts: &ImageFacts) -> bool {
        let diff_ids = facts.layers.iter().map(|layer| Digest::parse(layer.as_str()));
        diff_ids.into_iter().all(|diff_id| diff_id.is_ok_and(|diff_id| layer::is_whole(&self.content, &diff_id)))
    }

    fn refresh(&self, cache: &mut Cache) -> Result<(), ImageError> {
        let path = self.content.index_path();
        let stamp = Stamp::of(&path).map_err(ImageError::store("read", &path))?;
        if cache.stamp.as_ref() == Some(&stamp) {
            return Ok(());
        }
        let index = self.content.read_index()?;
        let named =
            |descriptor: &Descriptor| Some((descriptor.annotations.get(REF_NAME)?.clone(), descriptor.digest.clone()));
        cache.manifests = index.manifests.iter().filter_map(named).collect();
        cache.facts.retain(|digest, _| cache.manifests.values().any(|named| named == digest));
        cache.stamp = Some(stamp);
        Ok(())
    }

    /// The manifest that a name had at the last look at the index.
    pub(crate) fn named(&self, name: &str) -> Option<Digest> {
        let cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        cache.manifests.get(name).cloned()
    }

    pub(crate) fn read_manifest(&self, name: &str, digest: &Digest) -> Result<Manifest, ImageError> {
        let manifest = self.read_any_manifest(name, digest)?;
        manifest.check_kind().map_err(bad_manifest(name, digest))?;
        Ok(manifest)
    }

    /// Also of what is no image. Where another tool has brought an index, the part for this machine.
    fn read_any_manifest(&self, name: &str, digest: &Digest) -> Result<Manifest, ImageError> {
        let parse =
            |digest: &Digest| parse_document(&self.content.read_document(digest)?).map_err(bad_manifest(name, digest));
        let chosen = match parse(digest)? {
            Document::Manifest(manifest) => return Ok(manifest),
            Document::Index(index) => choose(name, &index)?.digest.clone(),
        };
        match parse(&chosen)? {
            Document::Manifest(manifest) => Ok(manifest),
            Document::Index(_) => Err(bad_manifest(name, &chosen)(DocumentError::Nested)),
        }
    }

    /// Facts of an image whose documents are in the store.
    pub(crate) fn read_facts(&self, name: &str, manifest: &Digest) -> Result<ImageFacts, ImageError> {
        let manifest = self.read_manifest(name, manifest)?;
        let bytes = self.content.read_document(&manifest.config.digest)?;
        let parsed = parse_config(&bytes).map_err(|error| ImageError::Config {
            reference: name.to_owned(),
            digest: manifest.config.digest.to_string(),
            source: BadConfig(error),
        })?;
        Ok(ImageFacts {
            id: ImageId::new(manifest.config.digest),
            layers: parsed.diff_ids.into_iter().map(DiffId::new).collect(),
            config: parsed.config,
        })
    }

    /// Every image that has a name.
    ///
    /// # Errors
    /// When the store is damaged.
    pub fn list(&self) -> Result<Vec<StoredImage>, ImageError> {
        let index = self.content.read_index()?;
        let mut images = Vec::new();
        for descriptor in &index.manifests {
            let Some(name) = descriptor.annotations.get(REF_NAME) else { continue };
            let manifest = match self.read_any_manifest(name, &descriptor.digest) {
                // Another tool's, for other machines only.
                Err(ImageError::WrongPlatform { .. }) => continue,
                manifest => manifest?,
            };
            if manifest.check_kind().is_err() {
                continue;
            }
            let facts = self.read_facts(name, &descriptor.digest)?;
            images.push(StoredImage {
                reference: ImageReference::new(name.clone()),
                is_unpacked: self.is_unpacked(&facts),
                id: facts.id,
                size: Bytes(manifest.layers.iter().map(|layer| layer.size).sum::<u64>() + manifest.config.size),
            });
        }
        images.sort_by(|a, b| a.reference.cmp(&b.reference));
        Ok(images)
    }

    /// The directory of an unpacked layer, for the lower side of an overlay mount.
    pub fn layer_path(&self, diff_id: &DiffId) -> PathBuf {
        match Digest::parse(diff_id.as_str()) {
            Ok(digest) => self.content.layer(&digest),
            // Diff ids come out of this store. A forged one leads to a name that never exists.
            Err(_) => self.content.layer(&Digest::of(b"")).join("no such layer"),
        }
    }

    /// Takes the images out of a docker-archive or an OCI-layout tar, compressed or not.
    ///
    /// # Errors
    /// When the file is malformed or holds nothing for this machine; then the store is as it was before.
    pub fn load(&self, path: &Path) -> Result<Vec<ImageReference>, ImageError> {
        let added = Added::new(&self.content);
        let loaded = crate::archive::load(self, path, &added);
        if let Err(error) = &loaded {
            self.note_refusal(error, added);
        }
        self.discard_refused();
        loaded
    }
}
