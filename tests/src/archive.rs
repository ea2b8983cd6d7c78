//! A docker-archive whose only content is the program under test, and as much ballast as is asked for.

use std::io::Write;
use std::path::Path;

use fs_err as fs;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// Writes what `docker save` would write for an image of one layer: `/stack`, and `ballast` bytes in `/ballast`.
///
/// # Panics
/// When the disk is full.
pub fn docker_archive(file: &Path, tag: &str, program: &Path, ballast: usize) {
    docker_archive_of(file, tag, program, ballast, &json!({}));
}

/// The same with settings for its containers beside, or instead of, the usual ones.
///
/// # Panics
/// When the disk is full.
pub fn docker_archive_of(file: &Path, tag: &str, program: &Path, ballast: usize, settings: &Value) {
    let mut layer = tar::Builder::new(Vec::new());
    append(&mut layer, "stack", &fs::read(program).expect("the program under test"), 0o755);
    append(&mut layer, "ballast", &vec![7; ballast], 0o644);
    let layer = layer.into_inner().expect("memory");
    let diff = digest(&layer);
    let mut config = json!({
        "architecture": if cfg!(target_arch = "x86_64") { "amd64" } else { "arm64" },
        "os": "linux",
        "config": { "Entrypoint": ["/stack"], "Cmd": ["demo", "sleep"], "Env": ["PATH=/"] },
        "rootfs": { "type": "layers", "diff_ids": [format!("sha256:{diff}")] },
    });
    for (key, value) in settings.as_object().into_iter().flatten() {
        config["config"][key] = value.clone();
    }
    let config = config.to_string();
    let (config_name, layer_name) = (format!("{}.json", digest(config.as_bytes())), format!("{diff}/layer.tar"));
    let manifest = json!([{ "Config": config_name, "RepoTags": [tag], "Layers": [layer_name] }]).to_string();
    let mut archive = tar::Builder::new(fs::File::create(file).expect("a file"));
    append(&mut archive, &layer_name, &layer, 0o644);
    append(&mut archive, &config_name, config.as_bytes(), 0o644);
    append(&mut archive, "manifest.json", manifest.as_bytes(), 0o644);
    archive.into_inner().and_then(|mut file| file.flush()).expect("a whole archive");
}

fn append(archive: &mut tar::Builder<impl Write>, name: &str, bytes: &[u8], mode: u32) {
    let mut header = header();
    header.set_size(bytes.len() as u64);
    header.set_mode(mode);
    archive.append_data(&mut header, name, bytes).expect("room for an entry");
}

/// With every field filled: those of `new_ustar` are empty, which not every reader takes for zero.
fn header() -> tar::Header {
    let mut header = tar::Header::new_ustar();
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header
}

fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}
