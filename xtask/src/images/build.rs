//! From recipes to layers.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::Outcome;
use crate::run::program;

use super::Failed;
use super::pack::{self, Packed};
use super::recipes::{Content, EDITION, File, Layer, MIRROR};

/// Lines of a failed build that are shown.
const LAST_LINES: usize = 20;
const BASE: &str = include_str!("../../images/base.sh");
const CHROOT: &str = include_str!("../../images/chroot.sh");

/// Hashes of the recipes up to each layer.
pub(super) fn keys(layers: &[Layer]) -> Vec<String> {
    let mut hasher = Sha256::new_with_prefix(EDITION);
    let mut keys = Vec::new();
    for layer in layers {
        hasher.update(layer.name);
        match layer.content {
            Content::Debian => hasher.update([BASE, MIRROR].concat()),
            Content::Script { script, files } => {
                hasher.update([CHROOT, script].concat());
                for file in files {
                    hasher.update(format!("{} {:o}\n{}", file.path, file.mode, file.text));
                }
            }
            Content::Entries(entries) => hasher.update(format!("{:?}", entries())),
        }
        keys.push(format!("{}-{}", layer.name, &pack::hex(hasher.clone())[..12]));
    }
    keys
}

/// The layer of a key if it was made before.
pub(super) fn find(cache: &Path, key: &str) -> Result<Option<Packed>, Failed> {
    let Ok(text) = fs_err::read(note(cache, key)) else { return Ok(None) };
    Ok(Some(serde_json::from_slice(&text)?))
}

/// Makes the last of these layers; those below it are there.
pub(super) fn ensure(cache: &Path, layers: &[Layer], keys: &[String]) -> Result<Packed, Failed> {
    let (Some(layer), Some(key)) = (layers.last(), keys.last()) else { return Err("an image has layers".into()) };
    if let Some(packed) = find(cache, key)? {
        return Ok(packed);
    }
    println!("+ layer {key}");
    let tree = tree(cache, key);
    match layer.content {
        Content::Debian => debootstrap(cache, &tree)?,
        Content::Script { script, files } => {
            let below: Vec<PathBuf> = keys[..keys.len() - 1].iter().map(|key| self::tree(cache, key)).collect();
            run_script(cache, &below, &tree, script)?;
            put_files(&tree, files)?;
        }
        Content::Entries(_) => {}
    }
    let blobs = cache.join("layout/blobs/sha256");
    let packed = match layer.content {
        Content::Entries(entries) => {
            pack::pack(&blobs, |archive| entries().iter().try_for_each(|entry| entry.append(archive)))?
        }
        Content::Debian | Content::Script { .. } => pack::pack(&blobs, |archive| pack::append_tree(archive, &tree))?,
    };
    let note = note(cache, key);
    fs_err::create_dir_all(note.parent().unwrap_or(cache))?;
    fs_err::write(note, serde_json::to_vec_pretty(&packed)?)?;
    Ok(packed)
}

fn note(cache: &Path, key: &str) -> PathBuf {
    cache.join("layers").join(format!("{key}.json"))
}

fn tree(cache: &Path, key: &str) -> PathBuf {
    cache.join("trees").join(key)
}

fn debootstrap(cache: &Path, tree: &Path) -> Outcome {
    fresh(tree)?;
    quietly(cache, program("unshare").args(["--mount", "sh", "-c", BASE, "base"]).args([tree]).arg(MIRROR).arg(cache))
}

fn run_script(cache: &Path, below: &[PathBuf], tree: &Path, script: &str) -> Outcome {
    let (work, root) = (cache.join("work"), cache.join("root"));
    for directory in [tree, &work, &root] {
        fresh(directory)?;
    }
    fs_err::set_permissions(tree, PermissionsExt::from_mode(0o755))?;
    // overlayfs names the uppermost first.
    let lower: Vec<String> = below.iter().rev().map(|tree| tree.display().to_string()).collect();
    let mut command = program("unshare");
    command.args(["--mount", "--propagation", "private", "sh", "-c", CHROOT, "chroot", &lower.join(":")]);
    quietly(cache, command.args([tree, &work, &root, cache]).arg(script))
}

fn put_files(tree: &Path, files: &[File]) -> Outcome {
    for file in files {
        let path = tree.join(file.path);
        fs_err::create_dir_all(path.parent().unwrap_or(tree))?;
        fs_err::write(&path, file.text)?;
        fs_err::set_permissions(&path, PermissionsExt::from_mode(file.mode))?;
    }
    Ok(())
}

fn fresh(directory: &Path) -> Outcome {
    if directory.exists() {
        fs_err::remove_dir_all(directory)?;
    }
    Ok(fs_err::create_dir_all(directory)?)
}

/// Debian's tools talk a lot; what they say matters only when they fail.
fn quietly(cache: &Path, command: &mut std::process::Command) -> Outcome {
    let path = cache.join("build.log");
    let log = fs_err::File::create(&path)?;
    command.stdin(std::process::Stdio::null()).stdout(log.file().try_clone()?).stderr(log.file().try_clone()?);
    let status = command.status()?;
    if status.success() {
        return Ok(());
    }
    let text = fs_err::read_to_string(&path).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    let last = &lines[lines.len().saturating_sub(LAST_LINES)..];
    Err(format!("a build ended with {status}; the end of {}:\n{}", path.display(), last.join("\n")).into())
}
