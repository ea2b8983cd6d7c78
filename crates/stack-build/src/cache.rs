//! What steps have made before, by a key over all that goes into them.

use std::path::PathBuf;

use fs_err as fs;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use stack_image::{Lock, Store, StoredLayer};
use stack_model::Layout;

use crate::config::Config;
use crate::error::BuildError;
use crate::workshop::home;

/// Raised when the same step would now make something else.
const EDITION: &str = "1";

/// What a step has made.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Made {
    /// `None`: it changed nothing.
    pub(crate) layer: Option<StoredLayer>,
    /// When, in seconds since the epoch.
    pub(crate) created: i64,
    /// The key over its inputs by content. Where another, quicker one leads here too, this one is told of it, so that
    /// the image is the same.
    pub(crate) key: String,
}

/// The inputs of a step, one after another.
pub(crate) struct KeyMaker(Sha256);

impl KeyMaker {
    pub(crate) fn new(kind: &str) -> Self {
        let mut maker = Self(Sha256::new());
        maker.add("edition", EDITION);
        maker.add("kind", kind);
        maker
    }

    /// Lengths keep two inputs from being taken for two others.
    pub(crate) fn add(&mut self, name: &str, value: impl AsRef<[u8]>) {
        let value = value.as_ref();
        self.0.update(format!("{name} {}\n", value.len()));
        self.0.update(value);
    }

    pub(crate) fn finish(self) -> String {
        hex(self.0)
    }
}

pub(crate) fn hex(hasher: Sha256) -> String {
    use std::fmt::Write;
    hasher.finalize().iter().fold(String::with_capacity(64), |mut text, byte| {
        write!(text, "{byte:02x}").expect("writing to a string does not fail");
        text
    })
}

/// The records of this machine, and those of images that were named.
pub(crate) struct StepCache<'s> {
    store: &'s Store,
    directory: PathBuf,
    is_off: bool,
    /// From `cache_from`.
    imported: Vec<(String, Made)>,
}

impl<'s> StepCache<'s> {
    pub(crate) fn open(store: &'s Store, directory: PathBuf, is_off: bool) -> Result<Self, BuildError> {
        fs::create_dir_all(&directory).map_err(BuildError::io("make", &directory))?;
        Ok(Self { store, directory, is_off, imported: Vec::new() })
    }

    /// Takes over the layers of an image that a build of ours made, here or elsewhere: it says the keys in its history.
    pub(crate) fn import(&mut self, name: &str) -> Result<(), BuildError> {
        let Some(image) = self.store.documents(&name.into())? else { return Ok(()) };
        let created = Config::of_base(image.config.clone()).created();
        for (note, layer) in Config::layer_notes(&image.config).into_iter().zip(image.layers) {
            if let Some(key) = note.as_deref().and_then(|note| note.strip_prefix(NOTE)) {
                let made = Made { layer: Some(layer), created, key: key.to_owned() };
                self.imported.push((key.to_owned(), made));
            }
        }
        Ok(())
    }

    /// Keeps others from doing the same step at the same time.
    pub(crate) fn lock(&self, key: &str) -> Result<Lock, BuildError> {
        Ok(Lock::wait_for_work(self.directory.join(format!("{key}.lock")))?)
    }

    pub(crate) fn find(&self, key: &str) -> Option<Made> {
        if self.is_off {
            return None;
        }
        let read = || -> Option<Made> { serde_json::from_slice(&fs::read(self.directory.join(key)).ok()?).ok() };
        let imported = || self.imported.iter().find(|(known, _)| known == key).map(|(_, made)| made.clone());
        let made = read().or_else(imported)?;
        made.layer.as_ref().is_none_or(|layer| self.store.has_layer(layer)).then_some(made)
    }

    pub(crate) fn keep(&self, key: &str, made: &Made) -> Result<(), BuildError> {
        let path = self.directory.join(key);
        let part = self.directory.join(format!("{key}.part"));
        let bytes = serde_json::to_vec(made).expect("it is made of texts and numbers");
        fs::write(&part, bytes).and_then(|()| fs::rename(&part, &path)).map_err(BuildError::io("write", path))
    }
}

/// In front of a key in the history of an image.
pub(crate) const NOTE: &str = "stack.build ";

/// The layers that cached steps have made.
///
/// # Errors
/// The cache cannot be read.
pub fn cached_layers(layout: &Layout) -> Result<Vec<StoredLayer>, BuildError> {
    let directory = home(layout).join("cache");
    let mut layers = Vec::new();
    for entry in fs::read_dir(&directory).into_iter().flatten().flatten() {
        // Locks and records that are being written are none.
        let Ok(bytes) = fs::read(entry.path()) else { continue };
        let Ok(made) = serde_json::from_slice::<Made>(&bytes) else { continue };
        layers.extend(made.layer);
    }
    Ok(layers)
}

/// Forgets cached steps, and what RUN keeps in its caches.
///
/// # Errors
/// Something cannot be removed.
pub fn forget(layout: &Layout) -> Result<(), BuildError> {
    for name in ["cache", "caches"] {
        let path = home(layout).join(name);
        match fs::remove_dir_all(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(BuildError::io("remove", path)(error));
            }
            Ok(()) | Err(_) => {}
        }
    }
    drop(fs::remove_file(home(layout).join("files.json")));
    Ok(())
}
