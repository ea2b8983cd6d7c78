//! Images of many layers: of this machine's own files, which compress as those of any image do, and of noise.

use std::path::{Path, PathBuf};

use serde_json::json;

use super::archive::{append, digest};
use crate::Outcome;

type Failed = Box<dyn std::error::Error>;

/// A path below the root of the image, and a content.
pub(super) type File = (String, Vec<u8>);

/// A docker-archive of such layers; the first has busybox besides.
pub(super) fn write_archive(
    file: &Path,
    tag: &str,
    layers: usize,
    mut content: impl FnMut(usize) -> Result<Vec<File>, Failed>,
) -> Outcome {
    let mut archive = tar::Builder::new(fs_err::File::create(file)?);
    let (mut names, mut diff_ids) = (Vec::new(), Vec::new());
    for number in 0..layers {
        let mut layer = tar::Builder::new(Vec::new());
        if number == 0 {
            append(&mut layer, "bin/busybox", &fs_err::read("/usr/bin/busybox")?, 0o755)?;
        }
        for (name, bytes) in content(number)? {
            append(&mut layer, &name, &bytes, 0o644)?;
        }
        let layer = layer.into_inner()?;
        diff_ids.push(format!("sha256:{}", digest(&layer)));
        let name = format!("{number}/layer.tar");
        append(&mut archive, &name, &layer, 0o644)?;
        names.push(name);
    }
    let config = json!({
        "architecture": if cfg!(target_arch = "x86_64") { "amd64" } else { "arm64" },
        "os": "linux",
        "config": { "Cmd": ["/bin/busybox", "true"] },
        "rootfs": { "type": "layers", "diff_ids": diff_ids },
    });
    append(&mut archive, "config.json", config.to_string().as_bytes(), 0o644)?;
    let table = json!([{ "Config": "config.json", "RepoTags": [tag], "Layers": names }]);
    append(&mut archive, "manifest.json", table.to_string().as_bytes(), 0o644)?;
    archive.into_inner()?;
    Ok(())
}

/// Every regular file below a directory, by name.
pub(super) fn files(directory: &Path) -> std::io::Result<impl Iterator<Item = PathBuf>> {
    let mut found = Vec::new();
    let mut left = vec![directory.to_owned()];
    while let Some(directory) = left.pop() {
        for entry in fs_err::read_dir(directory)? {
            let entry = entry?;
            let kind = entry.file_type()?;
            if kind.is_dir() {
                left.push(entry.path());
            } else if kind.is_file() {
                found.push(entry.path());
            }
        }
    }
    found.sort();
    Ok(found.into_iter())
}

/// As many files as fill a layer.
pub(super) fn taken(files: &mut impl Iterator<Item = PathBuf>, bytes: usize) -> Result<Vec<File>, Failed> {
    let (mut layer, mut sum) = (Vec::new(), 0);
    while sum < bytes {
        let path = files.next().ok_or("this machine has fewer files than the image needs")?;
        let content = fs_err::read(&path)?;
        sum += content.len();
        layer.push((path.strip_prefix("/")?.to_string_lossy().into_owned(), content));
    }
    Ok(layer)
}

/// Files of at most a megabyte that do not compress: noise, and then the same once more in part.
pub(super) fn noise(number: usize, bytes: usize) -> Vec<File> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64.wrapping_add(number as u64);
    let size = bytes.min(1 << 20);
    let file = |part| {
        let mut content: Vec<u8> = std::iter::repeat_with(|| random(&mut state)).take(size * 2 / 3).collect();
        content.extend_from_within(..size - size * 2 / 3);
        (format!("data/{number}/{part}"), content)
    };
    (0..bytes.div_ceil(1 << 20)).map(file).collect()
}

/// xorshift: noise that is the same in every run.
fn random(state: &mut u64) -> u8 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    state.to_le_bytes()[3]
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn files_with_long_names_and_of_any_content_come_back() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("image.tar");
        let long = format!("{}file", "usr/share/".repeat(20));
        write_archive(&file, "a/b:1", 2, |number| {
            Ok(vec![(format!("{long}{number}"), noise(number, 600).remove(0).1)])
        })
        .unwrap();
        let mut found = Vec::new();
        let mut archive = tar::Archive::new(fs_err::File::open(&file).unwrap());
        for entry in archive.entries().unwrap() {
            let mut entry = entry.unwrap();
            if !entry.path().unwrap().ends_with("layer.tar") {
                continue;
            }
            let mut layer = Vec::new();
            entry.read_to_end(&mut layer).unwrap();
            let mut layer = tar::Archive::new(layer.as_slice());
            for entry in layer.entries().unwrap() {
                let entry = entry.unwrap();
                found.push((entry.path().unwrap().display().to_string(), entry.size()));
            }
        }
        let found: Vec<_> = found.into_iter().filter(|(name, _)| name != "bin/busybox").collect();
        assert_eq!(found, [(format!("{long}0"), 600), (format!("{long}1"), 600)]);
    }
}
