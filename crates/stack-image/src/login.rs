//! Credentials: checked with the registry, kept where Docker keeps them, so that its tools and ours share them.

use std::path::{Path, PathBuf};

use fs_err as fs;
use fs_err::os::unix::fs::OpenOptionsExt;
use oci_client::RegistryOperation;
use serde_json::{Map, Value, json};

use crate::credential::{Credential, credential_key};
use crate::error::ImageError;
use crate::reference::Reference;
use crate::registry::Registry;

/// Docker's file: `DOCKER_CONFIG` or `~/.docker`.
fn path() -> Result<PathBuf, ImageError> {
    let directory = match (std::env::var_os("DOCKER_CONFIG"), std::env::var_os("HOME")) {
        (Some(directory), _) if !directory.is_empty() => PathBuf::from(directory),
        (_, Some(home)) => Path::new(&home).join(".docker"),
        (_, None) => {
            return Err(ImageError::store("find", "~/.docker/config.json")(std::io::ErrorKind::NotFound.into()));
        }
    };
    Ok(directory.join("config.json"))
}

/// Asks a registry whether it takes these credentials, and keeps them. Returns the file.
///
/// # Errors
/// The registry refuses them or does not answer, or the file cannot be written.
pub async fn login(registry: &str, user: &str, password: &str) -> Result<PathBuf, ImageError> {
    let reference = Reference::parse(&format!("{registry}/{ANY_REPOSITORY}"))?;
    let registry =
        Registry::with(&reference, Credential::Password { user: user.to_owned(), password: password.to_owned() })?;
    registry.authorize(RegistryOperation::Pull).await?;
    registry.check_credential().await?;
    let file = path()?;
    let token = base64(format!("{user}:{password}").as_bytes());
    change(&file, |auths| {
        auths.insert(credential_key(reference.registry()), json!({ "auth": token }));
    })?;
    Ok(file)
}

/// Forgets the credentials of a registry. `false` when there were none.
///
/// # Errors
/// The file cannot be read or written.
pub fn logout(registry: &str) -> Result<bool, ImageError> {
    let reference = Reference::parse(&format!("{registry}/{ANY_REPOSITORY}"))?;
    let mut removed = false;
    change(&path()?, |auths| removed = auths.remove(&credential_key(reference.registry())).is_some())?;
    Ok(removed)
}

/// A repository to ask about; it need not exist.
const ANY_REPOSITORY: &str = "stack/login";

/// Everything else in the file stays as it is.
fn change(path: &Path, change: impl FnOnce(&mut Map<String, Value>)) -> Result<(), ImageError> {
    let text = match fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => b"{}".to_vec(),
        Err(error) => return Err(ImageError::store("read", path)(error)),
    };
    let mut document: Value =
        serde_json::from_slice(&text).map_err(|error| ImageError::store("understand", path)(error.into()))?;
    let broken = || ImageError::store("understand", path)(std::io::Error::other("it is not the expected JSON"));
    let auths = document.as_object_mut().ok_or_else(broken)?.entry("auths").or_insert_with(|| json!({}));
    change(auths.as_object_mut().ok_or_else(broken)?);
    let bytes = serde_json::to_vec_pretty(&document).expect("it was JSON");
    let write = || -> std::io::Result<()> {
        fs::create_dir_all(path.parent().unwrap_or(Path::new("/")))?;
        let part = path.with_extension(format!("part{}", std::process::id()));
        let mut options = fs::OpenOptions::new();
        // Nobody else reads it, from its first byte on.
        let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&part)?;
        std::io::Write::write_all(&mut file, &bytes)?;
        file.sync_all()?;
        fs::rename(&part, path)
    };
    write().map_err(ImageError::store("write", path))
}

/// RFC 4648, with padding.
pub(crate) fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let value = chunk.iter().fold(0_u32, |value, byte| value << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for digit in 0..4 {
            let index = (value >> (18 - 6 * digit) & 0x3f) as usize;
            text.push(if digit <= chunk.len() { char::from(DIGITS[index]) } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_encoded() {
        // RFC 4648, section 10.
        let vectors = [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")];
        for (text, encoded) in vectors {
            assert_eq!(base64(text.as_bytes()), encoded);
        }
    }

    #[test]
    fn what_else_is_in_the_file_stays() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("new/config.json");
        change(&path, |auths| drop(auths.insert("a".to_owned(), json!(1)))).unwrap();
        fs::write(&path, r#"{"credsStore":"x","auths":{"b":{}}}"#).unwrap();
        change(&path, |auths| drop(auths.remove("b"))).unwrap();
        let text: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        assert_eq!(text, json!({ "credsStore": "x", "auths": {} }));
        let mode = std::os::unix::fs::MetadataExt::mode(&fs::metadata(&path).unwrap());
        assert_eq!(mode & 0o777, 0o600);
    }
}
