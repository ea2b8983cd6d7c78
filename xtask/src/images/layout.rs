//! The OCI layout from which skopeo pushes.

use std::path::Path;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::pack::{self, Packed};
use super::recipes::Image;
use super::{Failed, build};

/// An image in the layout.
#[derive(Debug)]
pub(super) struct Built {
    /// Of its manifest.
    pub(super) digest: String,
    /// Compressed bytes of its layers.
    pub(super) size: u64,
}

/// The image if all its layers were made before.
pub(super) fn find(cache: &Path, image: &Image) -> Result<Option<Built>, Failed> {
    let mut layers = Vec::new();
    for key in build::keys(&image.layers) {
        let Some(packed) = build::find(cache, &key)? else { return Ok(None) };
        layers.push(packed);
    }
    let (_, manifest) = documents(image, &layers);
    Ok(Some(built(&manifest, &layers)))
}

/// Makes what is missing of an image and names it in the layout.
pub(super) fn ensure(cache: &Path, image: &Image) -> Result<Built, Failed> {
    let layout = cache.join("layout");
    let blobs = layout.join("blobs/sha256");
    fs_err::create_dir_all(&blobs)?;
    let keys = build::keys(&image.layers);
    let mut layers = Vec::new();
    for count in 1..=keys.len() {
        layers.push(build::ensure(cache, &image.layers[..count], &keys[..count])?);
    }
    let (config, manifest) = documents(image, &layers);
    for bytes in [&config, &manifest] {
        let path = blobs.join(hash(bytes));
        if !path.exists() {
            fs_err::write(path, bytes)?;
        }
    }
    let built = built(&manifest, &layers);
    name(&layout, image, &built.digest, manifest.len())?;
    Ok(built)
}

fn built(manifest: &[u8], layers: &[Packed]) -> Built {
    Built { digest: format!("sha256:{}", hash(manifest)), size: layers.iter().map(|layer| layer.size).sum() }
}

/// Configuration and manifest.
fn documents(image: &Image, layers: &[Packed]) -> (Vec<u8>, Vec<u8>) {
    let diff_ids: Vec<&str> = layers.iter().map(|layer| layer.diff_id.as_str()).collect();
    let config = json!({
        "created": "2026-01-01T00:00:00Z",
        "architecture": "amd64",
        "os": "linux",
        "config": image.config,
        "rootfs": { "type": "layers", "diff_ids": diff_ids },
    });
    let config = config.to_string().into_bytes();
    let layer = |layer: &Packed| {
        let media_type = "application/vnd.oci.image.layer.v1.tar+gzip";
        json!({ "mediaType": media_type, "digest": layer.digest, "size": layer.size })
    };
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": {
            "mediaType": "application/vnd.oci.image.config.v1+json",
            "digest": format!("sha256:{}", hash(&config)),
            "size": config.len(),
        },
        "layers": layers.iter().map(layer).collect::<Vec<_>>(),
    });
    (config, manifest.to_string().into_bytes())
}

fn name(layout: &Path, image: &Image, digest: &str, size: usize) -> Result<(), Failed> {
    let path = layout.join("index.json");
    let mut manifests: Vec<Value> = match fs_err::read(&path) {
        Ok(text) => serde_json::from_slice::<Value>(&text)?["manifests"].as_array().cloned().unwrap_or_default(),
        Err(_) => Vec::new(),
    };
    let before = manifests.clone();
    for name in image.names {
        let annotations = json!({ "org.opencontainers.image.ref.name": name });
        let media_type = "application/vnd.oci.image.manifest.v1+json";
        let entry = json!({ "mediaType": media_type, "digest": digest, "size": size, "annotations": annotations });
        if !manifests.contains(&entry) {
            manifests.retain(|other| other["annotations"] != annotations);
            manifests.push(entry);
        }
    }
    if manifests != before {
        fs_err::write(layout.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#)?;
        fs_err::write(&path, json!({ "schemaVersion": 2, "manifests": manifests }).to_string())?;
    }
    Ok(())
}

fn hash(bytes: &[u8]) -> String {
    pack::hex(Sha256::new_with_prefix(bytes))
}
