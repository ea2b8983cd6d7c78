//! What the documents of an image mean for this machine, whether they came from a registry or an archive.

use stack_model::Now;

use crate::config::{Parsed, parse_config};
use crate::content::Content;
use crate::digest::Digest;
use crate::error::{BadConfig, ImageError};
use crate::fetch::{Cancel, LayerWork};
use crate::layer;
use crate::manifest::{ASKED, Compression, Descriptor, Document, Index, Manifest, OCI_MANIFEST, parse_document};
use crate::platform::Platform;
use crate::refused::Added;

/// The manifest of an index for this machine.
pub(crate) fn choose<'i>(name: &str, index: &'i Index) -> Result<&'i Descriptor, ImageError> {
    let wanted = Platform::of_this_machine();
    let fits = |entry: &&Descriptor| entry.platform.as_ref().is_some_and(|platform| wanted.runs(platform));
    index.manifests.iter().find(fits).ok_or_else(|| {
        let platforms = index.manifests.iter().filter_map(|entry| entry.platform.as_ref());
        let available: Vec<String> = platforms.map(ToString::to_string).collect();
        wrong_platform(name, &available.join(", "))
    })
}

fn wrong_platform(name: &str, available: &str) -> ImageError {
    let available = if available.is_empty() { "no platform that it names" } else { available };
    ImageError::WrongPlatform {
        reference: name.to_owned(),
        wanted: Platform::of_this_machine().to_string(),
        available: available.to_owned(),
    }
}

/// Parses a configuration and makes sure that this machine can run it.
pub(crate) fn check_config(name: &str, digest: &Digest, bytes: &[u8]) -> Result<Parsed, ImageError> {
    let parsed = parse_config(bytes).map_err(|error| ImageError::Config {
        reference: name.to_owned(),
        digest: digest.to_string(),
        source: BadConfig(error),
    })?;
    if Platform::of_this_machine().runs(&parsed.platform) {
        Ok(parsed)
    } else {
        Err(wrong_platform(name, &parsed.platform.to_string()))
    }
}

/// Pairs the layers of a manifest with the diff ids of its configuration.
pub(crate) fn plan_layers(
    content: &Content,
    name: &str,
    manifest: &Manifest,
    config: &Parsed,
    added: &Added,
) -> Result<Vec<LayerWork>, ImageError> {
    let counts = (manifest.layers.len(), config.diff_ids.len());
    if counts.0 != counts.1 {
        let (expected, found) = (format!("{} layers", counts.0), format!("{} layers", counts.1));
        return Err(ImageError::Mismatch { what: "configuration", reference: name.to_owned(), expected, found });
    }
    let cancel = Cancel::default();
    let pair = |(descriptor, diff_id): (&Descriptor, &Digest)| {
        let compression = Compression::of_media_type(&descriptor.media_type).ok_or_else(|| ImageError::LayerType {
            reference: name.to_owned(),
            digest: descriptor.digest.to_string(),
            media_type: descriptor.media_type.clone(),
        })?;
        Ok(LayerWork {
            content: content.clone(),
            reference: name.to_owned(),
            descriptor: descriptor.clone(),
            diff_id: diff_id.clone(),
            compression,
            cancel: cancel.clone(),
            added: added.clone(),
        })
    };
    manifest.layers.iter().zip(&config.diff_ids).map(pair).collect()
}

/// Keeps the documents of an image whose layers are there, and gives it its name. `asked` is when a registry said that
/// the name means it.
pub(crate) fn keep_image(
    content: &Content,
    name: &str,
    config: &[u8],
    manifest: &[u8],
    platform: Platform,
    asked: Option<Now>,
) -> Result<Digest, ImageError> {
    content.put(config)?;
    let digest = content.put(manifest)?;
    let media_type = match parse_document(manifest) {
        Ok(Document::Manifest(manifest)) if !manifest.media_type.is_empty() => manifest.media_type,
        _ => OCI_MANIFEST.to_owned(),
    };
    let mut descriptor = Descriptor::new(&media_type, digest.clone(), manifest.len() as u64);
    descriptor.platform = Some(platform);
    descriptor.annotations.extend(asked.map(|asked| (ASKED.to_owned(), asked.0.to_string())));
    content.name(name, descriptor)?;
    settle_later(content);
    Ok(digest)
}

/// Brings new layers to the disk without anyone waiting. Where it does not get to it, the notes stay, and the layers
/// are made again after a power failure only.
pub(crate) fn settle_later(content: &Content) {
    // A thread costs more than everything else that is done for an image that is there.
    let notes = layer::unsettled(content);
    if notes.is_empty() {
        return;
    }
    let content = content.clone();
    let thread = std::thread::Builder::new().name("settle".to_owned());
    drop(thread.spawn(move || drop(layer::settle(&content, notes))));
}
