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
    Compression, DOCUMENT_MAX, Descriptor, Document, DocumentError, Index, LAYERS_MAX, Manifest, OCI_CONFIG, REF_NAME,
    parse_document,
};
use crate::platform::Platform;
use crate::reference::Reference;
use crate::refused::Added;
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
    /// `null` where there is none: Go says so of an empty list.
    layers: Option<Vec<String>>,
}

/// `oci-layout` (OCI image-spec `image-layout.md`).
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct LayoutMark {
    image_layout_version: String,
}

/// An image whose layers are in the store.
struct Unpacked {
    names: Vec<Reference>,
    manifest: Vec<u8>,
    config: Vec<u8>,
    platform: Platform,
}

pub(crate) fn load(store: &Store, path: &Path, added: &Added) -> Result<Vec<ImageReference>, ImageError> {
    let _lease = store.content.lease()?;
    store.content.sweep();
    let contents = Contents::read(path, &store.content)?;
    let archive = Archive { store, path, contents, added };
    // `docker save` writes both tables; its own says the names in full.
    let images = if let Some(member) = archive.contents.find("manifest.json") {
        archive.load_saved(member)?
    } else if let Some(member) = archive.contents.find("index.json") {
        archive.load_layout(member)?
    } else {
        return Err(archive.refuse("it holds neither manifest.json nor index.json"));
    };
    if images.is_empty() {
        return Err(archive.refuse("it holds no image"));
    }
    // Names come last: one image that is refused refuses the archive.
    let mut loaded = Vec::new();
    for image in images {
        for name in image.names {
            let name = name.to_string();
            keep_image(&store.content, &name, &image.config, &image.manifest, image.platform.clone(), None)?;
            loaded.push(ImageReference::new(name));
        }
    }
    Ok(loaded)
}

struct Archive<'a> {
    store: &'a Store,
    path: &'a Path,
    contents: Contents,
    added: &'a Added,
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
        if Digest::of(&bytes) != descriptor.digest {
            return Err(self.refuse(format!("blob {} is not what its name says", descriptor.digest)));
        }
        if bytes.len() as u64 != descriptor.size {
            let (digest, size) = (&descriptor.digest, descriptor.size);
            return Err(self.refuse(format!("blob {digest} has {} bytes where {size} are promised", bytes.len())));
        }
        Ok(bytes)
    }

    fn name(&self, text: &str) -> Result<Reference, ImageError> {
        let reference = Reference::parse(text)?;
        // Nobody may bring another program under the name of the built-in image.
        if reference.registry() == BUILT_IN_REGISTRY {
            return Err(ImageError::BuiltIn(reference.to_string()));
        }
        Ok(reference)
    }

    fn load_saved(&self, member: Member) -> Result<Vec<Unpacked>, ImageError> {
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
            loaded.push(self.load_saved_image(image, names)?);
        }
        Ok(loaded)
    }

    fn load_saved_image(&self, image: &Saved, names: Vec<Reference>) -> Result<Unpacked, ImageError> {
        let config = self.document(self.member(&image.config)?, &image.config)?;
        let files = image.layers.as_deref().unwrap_or_default();
        if files.len() > LAYERS_MAX {
            return Err(self.refuse(format!("an image in it has more than {LAYERS_MAX} layers")));
        }
        let members = files.iter().map(|name| self.member(name)).collect::<Result<Vec<_>, _>>()?;
        let layers = members.iter().map(|member| self.describe(*member)).collect::<Result<Vec<_>, _>>()?;
        let config_descriptor = Descriptor::new(OCI_CONFIG, Digest::of(&config), config.len() as u64);
        let manifest = Manifest::new(config_descriptor, layers);
        let bytes = serde_json::to_vec(&manifest).expect("a manifest is made of texts and numbers");
        self.take(names, &manifest, bytes, config, &members)
    }

    /// Docker's table does not say digests: they are of what is there, and the diff ids check it in the end.
    fn describe(&self, member: Member) -> Result<Descriptor, ImageError> {
        let mut reader = HashingReader::new(self.contents.open(member));
        let mut start = Vec::new();
        let whole = reader.by_ref().take(4).read_to_end(&mut start);
        let whole = whole.and_then(|_| std::io::copy(&mut reader, &mut std::io::sink()));
        whole.map_err(ImageError::store("read", self.path))?;
        let (_, digest, size) = reader.finish();
        Ok(Descriptor::new(Compression::of_content(&start).media_type(), digest, size))
    }

    fn load_layout(&self, member: Member) -> Result<Vec<Unpacked>, ImageError> {
        let mark = self.document(self.member("oci-layout")?, "oci-layout")?;
        let mark: LayoutMark =
            serde_json::from_slice(&mark).map_err(|error| self.refuse(format!("oci-layout: {error}")))?;
        if mark.image_layout_version != "1.0.0" {
            let version = shown(&mark.image_layout_version);
            return Err(self.refuse(format!("its layout has version {version}; version 1.0.0 is supported")));
        }
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
            loaded.push(self.load_layout_image(descriptor, self.name(name)?)?);
        }
        Ok(loaded)
    }

    fn load_layout_image(&self, descriptor: &Descriptor, name: Reference) -> Result<Unpacked, ImageError> {
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
        manifest.check_kind().map_err(bad)?;
        let config = self.verified(&manifest.config)?;
        let members = manifest.layers.iter().map(|layer| self.blob(&layer.digest)).collect::<Result<Vec<_>, _>>()?;
        self.take(vec![name], &manifest, bytes, config, &members)
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
            Document::Index(_) => Err(bad(DocumentError::Nested)),
        }
    }

    /// Checks an image and brings its layers into the store.
    fn take(
        &self,
        names: Vec<Reference>,
        manifest: &Manifest,
        manifest_bytes: Vec<u8>,
        config: Vec<u8>,
        members: &[Member],
    ) -> Result<Unpacked, ImageError> {
        let shown = names.first().map_or_else(|| manifest.config.digest.to_string(), ToString::to_string);
        let parsed = check_config(&shown, &manifest.config.digest, &config)?;
        let layers = plan_layers(&self.store.content, &shown, manifest, &parsed, self.added)?;
        self.unpack_all(&layers, members)?;
        Ok(Unpacked { names, manifest: manifest_bytes, config, platform: parsed.platform })
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
