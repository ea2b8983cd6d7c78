//! Image archives: what `docker save`, `skopeo copy … docker-archive:` and `… oci-archive:` write.
//!
//! The tar is read once for its table of contents; after that its members are read in place, several layers at a time.
//! Layers pass the same checks as those of a registry.

mod contents;
mod save;

use std::io::Read;
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use serde::Deserialize;
use stack_model::ImageReference;

use crate::digest::{Digest, HashingReader};
use crate::error::{BadDocument, ImageError};
use crate::fetch::{LayerWork, Need};
use crate::manifest::{
    Compression, DOCUMENT_MAX, Descriptor, Document, DocumentError, Index, Manifest, OCI_CONFIG, REF_NAME,
    parse_document,
};
use crate::reference::Reference;
use crate::resolve::{check_config, choose, keep_image, plan_layers};
use crate::self_image::BUILT_IN_REGISTRY;
use crate::store::Store;
use contents::{Contents, Member};

/// The full name of an image, where `ref.name` holds only its tag.
const CONTAINERD_NAME: &str = "io.containerd.image.name";
/// Most images of one archive.
const IMAGES_MAX: usize = 1000;

/// An entry of `manifest.json` (Docker's image specification v1.2).
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Saved {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    layers: Vec<String>,
}

pub(crate) fn load(store: &Store, path: &Path) -> Result<Vec<ImageReference>, ImageError> {
    let _lease = store.content.lease()?;
    store.content.sweep();
    let contents = Contents::read(path, &store.content)?;
    let archive = Archive { store, path, contents };
    // `docker save` writes both tables; its own says the names in full.
    if let Some(member) = archive.contents.find("manifest.json") {
        archive.load_saved(member)
    } else if let Some(member) = archive.contents.find("index.json") {
        archive.load_layout(member)
    } else {
        Err(archive.refuse("it holds neither manifest.json nor index.json"))
    }
}

struct Archive<'a> {
    store: &'a Store,
    path: &'a Path,
    contents: Contents,
}

impl Archive<'_> {
    fn refuse(&self, reason: impl Into<String>) -> ImageError {
        ImageError::Archive { path: self.path.to_owned(), reason: reason.into() }
    }

    fn member(&self, name: &str) -> Result<Member, ImageError> {
        self.contents.find(name).ok_or_else(|| self.refuse(format!("it lacks `{}`", shown(name))))
    }

    fn blob(&self, digest: &Digest) -> Result<Member, ImageError> {
        self.member(&format!("blobs/sha256/{}", digest.hex()))
    }

    /// A small member, whole.
    fn document(&self, member: Member, name: &str) -> Result<Vec<u8>, ImageError> {
        if member.size > DOCUMENT_MAX {
            return Err(self.refuse(format!("`{}` is larger than {DOCUMENT_MAX} bytes", shown(name))));
        }
        let mut bytes = Vec::new();
        let read = self.contents.open(member).read_to_end(&mut bytes);
        read.map_err(ImageError::store("read", self.path))?;
        Ok(bytes)
    }

    fn verified(&self, descriptor: &Descriptor) -> Result<Vec<u8>, ImageError> {
        let bytes = self.document(self.blob(&descriptor.digest)?, descriptor.digest.as_str())?;
        if Digest::of(&bytes) == descriptor.digest {
            Ok(bytes)
        } else {
            Err(self.refuse(format!("blob {} is not what its name says", descriptor.digest)))
        }
    }

    fn name(&self, text: &str) -> Result<Reference, ImageError> {
        let reference = Reference::parse(text)?;
        // Nobody may bring another program under the name of the built-in image.
        if reference.registry() == BUILT_IN_REGISTRY {
            return Err(ImageError::BuiltIn(reference.to_string()));
        }
        Ok(reference)
    }

    fn load_saved(&self, member: Member) -> Result<Vec<ImageReference>, ImageError> {
        let bytes = self.document(member, "manifest.json")?;
        let images: Vec<Saved> =
            serde_json::from_slice(&bytes).map_err(|error| self.refuse(format!("manifest.json: {error}")))?;
        if images.len() > IMAGES_MAX {
            return Err(self.refuse(format!("it has more than {IMAGES_MAX} images")));
        }
        let mut loaded = Vec::new();
        for image in &images {
            let tags = image.repo_tags.iter().flatten();
            let names = tags.map(|tag| self.name(tag)).collect::<Result<Vec<_>, _>>()?;
            if names.is_empty() {
                return Err(self.refuse("an image in it has no name; save it by its name, not by its id"));
            }
            self.load_saved_image(image, &names)?;
            loaded.extend(names.iter().map(|name| ImageReference::new(name.to_string())));
        }
        if loaded.is_empty() { Err(self.refuse("it holds no image")) } else { Ok(loaded) }
    }

    fn load_saved_image(&self, image: &Saved, names: &[Reference]) -> Result<(), ImageError> {
        let config = self.document(self.member(&image.config)?, &image.config)?;
        let layers = image.layers.iter().map(|name| self.describe(self.member(name)?));
        let layers = layers.collect::<Result<Vec<_>, _>>()?;
        let config_descriptor = Descriptor::new(OCI_CONFIG, Digest::of(&config), config.len() as u64);
        let manifest = Manifest::new(config_descriptor, layers);
        let bytes = serde_json::to_vec(&manifest).expect("a manifest is made of texts and numbers");
        let members = image.layers.iter().map(|name| self.member(name)).collect::<Result<Vec<_>, _>>()?;
        self.keep(names, &manifest, &bytes, &config, &members)
    }

    /// Docker's table does not say digests: they are of what is there, and the diff ids check it in the end.
    fn describe(&self, member: Member) -> Result<Descriptor, ImageError> {
        let mut reader = HashingReader::new(self.contents.open(member));
        let mut start = [0; 4];
        let whole = reader.read_exact(&mut start).and_then(|()| std::io::copy(&mut reader, &mut std::io::sink()));
        whole.map_err(ImageError::store("read", self.path))?;
        let (_, digest, size) = reader.finish();
        Ok(Descriptor::new(Compression::of_content(&start).media_type(), digest, size))
    }

    fn load_layout(&self, member: Member) -> Result<Vec<ImageReference>, ImageError> {
        let bytes = self.document(member, "index.json")?;
        let index = match parse_document(&bytes) {
            Ok(Document::Index(index)) => index,
            Ok(Document::Manifest(_)) => return Err(self.refuse("index.json is a manifest")),
            Err(error) => return Err(self.refuse(format!("index.json: {error}"))),
        };
        if index.manifests.len() > IMAGES_MAX {
            return Err(self.refuse(format!("it has more than {IMAGES_MAX} images")));
        }
        let mut loaded = Vec::new();
        for descriptor in &index.manifests {
            let name = descriptor.annotations.get(CONTAINERD_NAME).or_else(|| descriptor.annotations.get(REF_NAME));
            let name = name.ok_or_else(|| self.refuse("an image in it has no name"))?;
            let name = self.name(name)?;
            self.load_layout_image(descriptor, &name)?;
            loaded.push(ImageReference::new(name.to_string()));
        }
        if loaded.is_empty() { Err(self.refuse("it holds no image")) } else { Ok(loaded) }
    }

    fn load_layout_image(&self, descriptor: &Descriptor, name: &Reference) -> Result<(), ImageError> {
        let text = name.to_string();
        let bad = |error| ImageError::Manifest {
            reference: text.clone(),
            digest: descriptor.digest.to_string(),
            source: BadDocument(error),
        };
        let bytes = self.verified(descriptor)?;
        let (manifest, bytes) = match parse_document(&bytes).map_err(bad)? {
            Document::Manifest(manifest) => (manifest, bytes),
            Document::Index(index) => self.nested(&text, &index, &bad)?,
        };
        let config = self.verified(&manifest.config)?;
        let members = manifest.layers.iter().map(|layer| self.blob(&layer.digest)).collect::<Result<Vec<_>, _>>()?;
        self.keep(std::slice::from_ref(name), &manifest, &bytes, &config, &members)
    }

    fn nested(
        &self,
        name: &str,
        index: &Index,
        bad: &dyn Fn(DocumentError) -> ImageError,
    ) -> Result<(Manifest, Vec<u8>), ImageError> {
        let bytes = self.verified(choose(name, index)?)?;
        match parse_document(&bytes).map_err(bad)? {
            Document::Manifest(manifest) => Ok((manifest, bytes)),
            Document::Index(_) => Err(bad(DocumentError::Kind)),
        }
    }

    fn keep(
        &self,
        names: &[Reference],
        manifest: &Manifest,
        manifest_bytes: &[u8],
        config: &[u8],
        members: &[Member],
    ) -> Result<(), ImageError> {
        let Some(first) = names.first().map(ToString::to_string) else { return Ok(()) };
        let parsed = check_config(&first, &manifest.config.digest, config)?;
        let layers = plan_layers(&self.store.content, &first, manifest, &parsed)?;
        self.unpack_all(&layers, members)?;
        for name in names {
            let (content, platform) = (&self.store.content, parsed.platform.clone());
            keep_image(content, &name.to_string(), config, manifest_bytes, platform, None)?;
        }
        Ok(())
    }

    /// Unpacks side by side, as many layers as there are processors; the first failure ends the others.
    fn unpack_all(&self, layers: &[LayerWork], members: &[Member]) -> Result<(), ImageError> {
        let work = Mutex::new(layers.iter().zip(members));
        let failure = Mutex::new(None);
        let parallel = std::thread::available_parallelism().map_or(1, NonZeroUsize::get).min(layers.len());
        std::thread::scope(|scope| {
            for _ in 0..parallel {
                scope.spawn(|| {
                    let next = || work.lock().unwrap_or_else(PoisonError::into_inner).next();
                    while let Some((layer, member)) = next() {
                        if let Err(error) = self.unpack(layer, *member) {
                            layer.cancel.cancel();
                            failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
                            return;
                        }
                    }
                });
            }
        });
        failure.into_inner().unwrap_or_else(PoisonError::into_inner).map_or(Ok(()), Err)
    }

    fn unpack(&self, layer: &LayerWork, member: Member) -> Result<(), ImageError> {
        match layer.begin()? {
            Need::Nothing => Ok(()),
            Need::Unpack(_lock) => layer.unpack_stored(),
            Need::Receive { lock: _lock, unpack } => layer.receive(self.contents.open(member), unpack),
        }
    }
}

fn shown(name: &str) -> String {
    name.chars().take(100).flat_map(char::escape_default).collect()
}
