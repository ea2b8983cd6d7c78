//! The two images as a docker-archive, from this machine's static busybox: for measurements without docker.

use std::io::Write;
use std::path::Path;

use sha2::{Digest, Sha256};

use super::compose::{IMAGE, OTHER_IMAGE, OTHER_MARK};

/// Programs that the projects use.
const APPLETS: [&str; 4] = ["sh", "sleep", "cat", "true"];

/// Writes the archive that `docker save` would write for both.
pub(super) fn write(file: &Path) -> Result<(), Box<dyn std::error::Error>> {
    let layer = layer()?;
    let diff = digest(&layer);
    let layer_name = format!("{diff}/layer.tar");
    let mut archive = tar::Builder::new(fs_err::File::create(file)?);
    append(&mut archive, &layer_name, &layer, 0o644)?;
    let mut manifest = Vec::new();
    for (tag, env) in [(IMAGE, None), (OTHER_IMAGE, Some(OTHER_MARK))] {
        let path = "PATH=/bin".to_owned();
        let env: Vec<String> = std::iter::once(path).chain(env.map(str::to_owned)).collect();
        let config = serde_json::to_vec(&serde_json::json!({
            "architecture": "amd64",
            "os": "linux",
            "config": { "Cmd": ["sh"], "Env": env },
            "rootfs": { "type": "layers", "diff_ids": [format!("sha256:{diff}")] },
        }))?;
        let name = format!("{}.json", digest(&config));
        append(&mut archive, &name, &config, 0o644)?;
        manifest.push(serde_json::json!({ "Config": name, "RepoTags": [tag], "Layers": [layer_name] }));
    }
    append(&mut archive, "manifest.json", &serde_json::to_vec(&manifest)?, 0o644)?;
    archive.into_inner()?.flush()?;
    Ok(())
}

fn layer() -> Result<Vec<u8>, Box<dyn std::error::Error>> {
    let busybox = fs_err::read("/usr/bin/busybox").or_else(|_| fs_err::read("/bin/busybox"))?;
    let mut layer = tar::Builder::new(Vec::new());
    append(&mut layer, "bin/busybox", &busybox, 0o755)?;
    for applet in APPLETS {
        let mut header = header();
        header.set_entry_type(tar::EntryType::Symlink);
        header.set_mode(0o777);
        header.set_size(0);
        layer.append_link(&mut header, format!("bin/{applet}"), "busybox")?;
    }
    for directory in ["dev", "etc", "proc", "sys", "tmp"] {
        let mut header = header();
        header.set_entry_type(tar::EntryType::Directory);
        header.set_mode(0o755);
        header.set_size(0);
        layer.append_data(&mut header, directory, std::io::empty())?;
    }
    Ok(layer.into_inner()?)
}

pub(super) fn append(
    archive: &mut tar::Builder<impl Write>,
    name: &str,
    bytes: &[u8],
    mode: u32,
) -> std::io::Result<()> {
    let mut header = header();
    header.set_size(bytes.len() as u64);
    header.set_mode(mode);
    archive.append_data(&mut header, name, bytes)
}

/// With every field filled: those of `new_ustar` are empty, which not every reader takes for zero.
fn header() -> tar::Header {
    let mut header = tar::Header::new_ustar();
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header
}

pub(super) fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}
