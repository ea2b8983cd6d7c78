//! Images made of a few bytes.

use std::io::Write;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// Content with its digest.
#[derive(Clone)]
pub(crate) struct Blob {
    pub(crate) bytes: Vec<u8>,
    pub(crate) digest: String,
    pub(crate) media_type: &'static str,
}

pub(crate) const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub(crate) const INDEX: &str = "application/vnd.oci.image.index.v1+json";

impl Blob {
    pub(crate) fn new(bytes: Vec<u8>, media_type: &'static str) -> Self {
        Self { digest: digest(&bytes), bytes, media_type }
    }

    pub(crate) fn descriptor(&self) -> Value {
        json!({ "mediaType": self.media_type, "digest": self.digest, "size": self.bytes.len() })
    }

    pub(crate) fn hex(&self) -> &str {
        &self.digest["sha256:".len()..]
    }
}

pub(crate) fn digest(bytes: &[u8]) -> String {
    let hex: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}

/// An uncompressed layer of files.
pub(crate) fn tar(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (path, content) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(1);
        builder.append_data(&mut header, path, *content).unwrap();
    }
    builder.into_inner().unwrap()
}

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// Bytes that do not compress, the same in every run.
pub(crate) fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed | 1;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[0]
    };
    std::iter::repeat_with(next).take(length).collect()
}

/// A whole image.
#[derive(Clone)]
pub(crate) struct Image {
    pub(crate) config: Blob,
    pub(crate) layers: Vec<Blob>,
    pub(crate) manifest: Blob,
    /// Diff ids.
    pub(crate) tars: Vec<Vec<u8>>,
}

impl Image {
    /// One layer in each compression.
    pub(crate) fn three_layers() -> Self {
        let big = noise(3 << 20, 7);
        let tars = vec![
            tar(&[("etc/one", b"first"), ("etc/two", b"first")]),
            tar(&[("etc/two", b"second"), ("big", &big)]),
            tar(&[("etc/.wh.one", b"")]),
        ];
        let layer = "application/vnd.oci.image.layer.v1.tar";
        let layers = vec![
            Blob::new(tars[0].clone(), layer),
            Blob::new(gzip(&tars[1]), "application/vnd.docker.image.rootfs.diff.tar.gzip"),
            Blob::new(zstd::encode_all(tars[2].as_slice(), 1).unwrap(), "application/vnd.oci.image.layer.v1.tar+zstd"),
        ];
        Self::new(tars, layers, "amd64")
    }

    /// Of uncompressed layers.
    pub(crate) fn of_tars(tars: Vec<Vec<u8>>) -> Self {
        let layer = |tar: &Vec<u8>| Blob::new(tar.clone(), "application/vnd.oci.image.layer.v1.tar");
        let layers = tars.iter().map(layer).collect();
        Self::new(tars, layers, "amd64")
    }

    pub(crate) fn small(architecture: &str) -> Self {
        let tars = vec![tar(&[("hello", b"world")])];
        let layers = vec![Blob::new(gzip(&tars[0]), "application/vnd.oci.image.layer.v1.tar+gzip")];
        Self::new(tars, layers, architecture)
    }

    pub(crate) fn new(tars: Vec<Vec<u8>>, layers: Vec<Blob>, architecture: &str) -> Self {
        let diff_ids: Vec<String> = tars.iter().map(|tar| digest(tar)).collect();
        let config = json!({
            "architecture": architecture, "os": "linux",
            "config": { "Cmd": ["/hello"], "Env": ["A=b"], "Labels": { "stack.privileged": "true" } },
            "rootfs": { "type": "layers", "diff_ids": diff_ids },
        });
        let config = Blob::new(config.to_string().into_bytes(), "application/vnd.oci.image.config.v1+json");
        let descriptors: Vec<Value> = layers.iter().map(Blob::descriptor).collect();
        let manifest = json!({
            "schemaVersion": 2, "mediaType": MANIFEST, "config": config.descriptor(), "layers": descriptors,
        });
        Self { config, layers, manifest: Blob::new(manifest.to_string().into_bytes(), MANIFEST), tars }
    }

    pub(crate) fn blobs(&self) -> impl Iterator<Item = &Blob> {
        self.layers.iter().chain([&self.config, &self.manifest])
    }

    pub(crate) fn diff_ids(&self) -> Vec<String> {
        self.tars.iter().map(|tar| digest(tar)).collect()
    }
}
