//! `stack save`: one tar that is an OCI layout and what `docker load` reads, with each blob once.

use std::collections::BTreeSet;
use std::io::{self, Read, Write};

use fs_err as fs;
use serde_json::json;
use stack_model::ImageReference;

use crate::digest::Digest;
use crate::error::ImageError;
use crate::manifest::{Index, REF_NAME};
use crate::store::Store;

/// The full name of an image, beside its tag.
const CONTAINERD_NAME: &str = "io.containerd.image.name";

impl Store {
    /// Writes images into a tar. The same images give the same bytes.
    ///
    /// # Errors
    /// An image is not here, the store is damaged, or the output cannot be written.
    pub fn save(&self, images: &[ImageReference], output: &mut dyn Write) -> Result<(), ImageError> {
        let _lease = self.content.lease()?;
        let known = self.content.read_index()?;
        let (mut index, mut table, mut blobs) = (Index::default(), Vec::new(), BTreeSet::new());
        for image in images {
            let name = self.resolve(image)?;
            let text = name.as_str();
            let mut descriptor = known.named(text).cloned().ok_or_else(|| ImageError::NotHere(text.to_owned()))?;
            let manifest = self.read_manifest(text, &descriptor.digest)?;
            let tag = text.rsplit_once(':').map_or(text, |(_, tag)| tag).to_owned();
            descriptor.annotations.insert(REF_NAME.to_owned(), tag);
            descriptor.annotations.insert(CONTAINERD_NAME.to_owned(), text.to_owned());
            blobs.extend(manifest.layers.iter().chain([&manifest.config]).map(|blob| blob.digest.clone()));
            blobs.insert(descriptor.digest.clone());
            index.manifests.push(descriptor);
            let path = |digest: &Digest| format!("blobs/sha256/{}", digest.hex());
            let layers: Vec<String> = manifest.layers.iter().map(|layer| path(&layer.digest)).collect();
            table.push(json!({ "Config": path(&manifest.config.digest), "RepoTags": [short(text)], "Layers": layers }));
        }
        let mut archive = tar::Builder::new(output);
        let written = |source| ImageError::Store { action: "write", path: "the archive".into(), source };
        for digest in &blobs {
            let path = self.content.blob(digest);
            let file = fs::File::open(&path).map_err(ImageError::store("read", &path))?;
            let size = file.metadata().map_err(ImageError::store("read", &path))?.len();
            append(&mut archive, &format!("blobs/sha256/{}", digest.hex()), size, file).map_err(written)?;
        }
        let index = serde_json::to_vec(&index).expect("an index is made of texts and numbers");
        let table = serde_json::to_vec(&table).expect("a table is made of texts");
        let layout = br#"{"imageLayoutVersion":"1.0.0"}"#;
        let documents = [("index.json", index.as_slice()), ("manifest.json", &table), ("oci-layout", layout)];
        for (name, bytes) in documents {
            append(&mut archive, name, bytes.len() as u64, bytes).map_err(written)?;
        }
        archive.into_inner().and_then(|output| output.flush()).map_err(written)
    }
}

/// Docker's own table leaves out what it takes for granted.
fn short(name: &str) -> &str {
    name.strip_prefix("docker.io/library/").or_else(|| name.strip_prefix("docker.io/")).unwrap_or(name)
}

fn append(archive: &mut tar::Builder<&mut dyn Write>, name: &str, size: u64, content: impl Read) -> io::Result<()> {
    let mut header = tar::Header::new_ustar();
    header.set_size(size);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    archive.append_data(&mut header, name, content)
}
