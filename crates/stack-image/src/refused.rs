//! What an image that was refused has left in the store goes again: nothing of it was asked for.
//!
//! Layers get their names as they are unpacked, so that several processes can share them; the one that is refused comes
//! after. What was added may go only while nobody adds anything, and while the index is the same as before: then nothing
//! can have come to depend on it. Otherwise it stays without a name, as what a failed download leaves does, until a
//! collection.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use fs_err as fs;
use stack_model::Fault;

use crate::collect::Needed;
use crate::content::Content;
use crate::digest::Digest;
use crate::error::ImageError;
use crate::lock::Lock;
use crate::scratch::ScratchDirectory;
use crate::store::{Stamp, Store};

/// What one load or pull has added.
#[derive(Debug, Clone, Default)]
pub(crate) struct Added {
    /// Of the index before the first was added.
    before: Option<Stamp>,
    names: Arc<Mutex<Names>>,
}

#[derive(Debug, Default)]
struct Names {
    blobs: BTreeSet<Digest>,
    layers: BTreeSet<Digest>,
}

impl Added {
    pub(crate) fn new(content: &Content) -> Self {
        Self { before: Stamp::of(&content.index_path()).ok(), names: Arc::default() }
    }

    pub(crate) fn blob(&self, digest: &Digest) {
        self.names.lock().unwrap_or_else(PoisonError::into_inner).blobs.insert(digest.clone());
    }

    pub(crate) fn layer(&self, diff_id: &Digest) {
        self.names.lock().unwrap_or_else(PoisonError::into_inner).layers.insert(diff_id.clone());
    }
}

impl Store {
    /// Notes what a refused image has added. Trouble that passes is another matter: the next try goes on from there.
    pub(crate) fn note_refusal(&self, error: &ImageError, added: Added) {
        if error.fault() == Fault::User {
            self.refused.lock().unwrap_or_else(PoisonError::into_inner).push(added);
        }
    }

    /// Removes what images have added that were refused since this store was opened. Whoever holds a lease keeps it
    /// from doing so; call it again without.
    pub fn discard_refused(&self) {
        let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        if refused.is_empty() {
            return;
        }
        let Some(_alone) = Lock::try_alone(&self.content.lease_path()) else { return };
        // Errors are left to a collection: nothing depends on it.
        for added in refused.drain(..) {
            drop(self.discard(&added));
        }
    }

    fn discard(&self, added: &Added) -> Result<(), ImageError> {
        let content = &self.content;
        if Stamp::of(&content.index_path()).ok() != added.before {
            return Ok(());
        }
        let reachable = self.reachable(&Needed::default())?;
        let names = added.names.lock().unwrap_or_else(PoisonError::into_inner);
        for diff_id in names.layers.iter().filter(|diff_id| !reachable.layers.contains(diff_id.hex())) {
            let doomed = ScratchDirectory::new_in(&content.layer_scratch())?;
            drop(fs::rename(content.layer(diff_id), doomed.path().join("old")));
            drop(fs::remove_file(content.unsynced().join(diff_id.hex())));
        }
        for digest in names.blobs.iter().filter(|digest| !reachable.blobs.contains(digest.hex())) {
            drop(fs::remove_file(content.blob(digest)));
        }
        Ok(())
    }
}
