//! Names of images: given, taken away, looked up.

use serde_json::Value;
use stack_model::{ImageReference, Now};

use crate::error::ImageError;
use crate::manifest::ASKED;
use crate::reference::Reference;
use crate::self_image::BUILT_IN_REGISTRY;
use crate::store::Store;

impl Store {
    /// Gives an image a further name.
    ///
    /// # Errors
    /// A name is wrong or built in, or there is no such image.
    pub fn tag(&self, image: &ImageReference, name: &ImageReference) -> Result<ImageReference, ImageError> {
        let new = Reference::parse(name.as_str())?;
        if new.registry() == BUILT_IN_REGISTRY {
            return Err(ImageError::BuiltIn(new.to_string()));
        }
        let _lease = self.content.lease()?;
        let known = self.resolve(image)?;
        let index = self.content.read_index()?;
        let descriptor = index.named(known.as_str()).cloned().ok_or_else(|| ImageError::NotHere(known.to_string()))?;
        self.content.name(&new.to_string(), descriptor)?;
        Ok(ImageReference::new(new.to_string()))
    }

    /// When a registry was last asked for an image that is here; `None` for one that was built or loaded.
    ///
    /// # Errors
    /// The name is wrong, or the store is damaged.
    pub fn asked(&self, image: &ImageReference) -> Result<Option<Now>, ImageError> {
        let name = Reference::parse(image.as_str())?.to_string();
        let index = self.content.read_index()?;
        let asked = index.named(&name).and_then(|descriptor| descriptor.annotations.get(ASKED));
        Ok(asked.and_then(|text| text.parse().ok()).map(Now))
    }

    /// Takes a name away. The content goes with the next collection, unless something else needs it.
    ///
    /// # Errors
    /// The name is wrong, or no image has it.
    pub fn untag(&self, image: &ImageReference) -> Result<ImageReference, ImageError> {
        let known = self.resolve(image)?;
        if self.content.unname(known.as_str())? { Ok(known) } else { Err(ImageError::NotHere(known.to_string())) }
    }

    /// The full name of an image that is here: by any form of its name, or by a beginning of its id that is unique.
    ///
    /// # Errors
    /// There is no such image, or several begin so.
    pub fn resolve(&self, image: &ImageReference) -> Result<ImageReference, ImageError> {
        let text = image.as_str();
        if let Ok(reference) = Reference::parse(text) {
            let name = reference.to_string();
            if self.content.read_index()?.named(&name).is_some() {
                return Ok(ImageReference::new(name));
            }
        }
        let hex = text.strip_prefix("sha256:").unwrap_or(text);
        let is_id = hex.len() >= ID_DIGITS_MIN && hex.bytes().all(|byte| byte.is_ascii_hexdigit());
        let all = if is_id { self.list()? } else { Vec::new() };
        let found: Vec<_> = all.iter().filter(|one| one.id.as_str()["sha256:".len()..].starts_with(hex)).collect();
        match found.as_slice() {
            [] => Err(ImageError::NotHere(text.to_owned())),
            [first, rest @ ..] if rest.iter().all(|other| other.id == first.id) => Ok(first.reference.clone()),
            [..] => Err(ImageError::Ambiguous(text.to_owned())),
        }
    }

    /// Manifest and configuration of an image, as they are.
    ///
    /// # Errors
    /// There is no such image, or the store is damaged.
    pub fn inspect(&self, image: &ImageReference) -> Result<(ImageReference, Value, Value), ImageError> {
        let name = self.resolve(image)?;
        let index = self.content.read_index()?;
        let descriptor = index.named(name.as_str()).ok_or_else(|| ImageError::NotHere(name.to_string()))?;
        let manifest = self.read_manifest(name.as_str(), &descriptor.digest)?;
        let config = self.content.read_document(&manifest.config.digest)?;
        let config = serde_json::from_slice(&config).map_err(|error| ImageError::Config {
            reference: name.to_string(),
            digest: manifest.config.digest.to_string(),
            source: crate::error::BadConfig(error.into()),
        })?;
        let manifest = serde_json::to_value(&manifest).expect("a manifest is made of texts and numbers");
        Ok((name, manifest, config))
    }
}

/// Digits of an id that are enough to ask by.
const ID_DIGITS_MIN: usize = 4;
