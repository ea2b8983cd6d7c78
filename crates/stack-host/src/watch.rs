//! Watching the input files. A watch says that something may have changed; the content decides.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::mpsc;

use crate::failure::WatchError;

/// Editors write in several steps; a change is read once this much time has passed without another.
const QUIET: Duration = Duration::from_millis(15);
/// A file that never rests is read all the same after this long.
const PATIENCE: Duration = Duration::from_millis(200);
/// More pending notices than this say nothing new.
const NOTICES_MAX: usize = 64;

/// The input files of a project under watch.
#[derive(Debug)]
pub(crate) struct InputWatch {
    watcher: RecommendedWatcher,
    notices: mpsc::Receiver<()>,
    /// Directories are watched, not files: an editor that renames over a file would end a watch on the file itself.
    directories: BTreeSet<PathBuf>,
    contents: BTreeMap<PathBuf, Option<u64>>,
}

impl InputWatch {
    /// A watch on nothing.
    pub(crate) fn new() -> Result<Self, WatchError> {
        let (sender, notices) = mpsc::channel(NOTICES_MAX);
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            // Reading a file is an access and would wake the reader again.
            let relevant = event.as_ref().map_or(true, |event| !matches!(event.kind, EventKind::Access(_)));
            if relevant {
                // A full queue already holds a notice that has not been looked at.
                let _ = sender.try_send(());
            }
        })?;
        Ok(Self { watcher, notices, directories: BTreeSet::new(), contents: BTreeMap::new() })
    }

    /// Watches exactly `inputs`, as they are now.
    pub(crate) fn follow(&mut self, inputs: &BTreeSet<PathBuf>) -> Result<(), WatchError> {
        self.contents = inputs.iter().map(|path| (path.clone(), digest(path))).collect();
        self.watch_directories()
    }

    /// Moves the watches to where the inputs can appear now: a directory on the way may have come or gone.
    fn watch_directories(&mut self) -> Result<(), WatchError> {
        let wanted: BTreeSet<PathBuf> = self.contents.keys().filter_map(|path| existing_parent(path)).collect();
        for gone in self.directories.difference(&wanted) {
            // A directory that was deleted has already lost its watch.
            drop(self.watcher.unwatch(gone));
        }
        for new in wanted.difference(&self.directories) {
            self.watcher.watch(new, RecursiveMode::NonRecursive)?;
        }
        self.directories = wanted;
        Ok(())
    }

    /// Ends when an input differs from what was last seen, and names it. Fails when a directory cannot be watched,
    /// for example because `fs.inotify.max_user_watches` is exhausted.
    pub(crate) async fn changed(&mut self) -> Result<PathBuf, WatchError> {
        loop {
            if self.notices.recv().await.is_none() {
                // The watcher lives as long as `self`, and the sender as long as the watcher.
                std::future::pending::<()>().await;
            }
            self.settle().await;
            self.watch_directories()?;
            if let Some(path) = self.first_difference() {
                return Ok(path);
            }
        }
    }

    /// Lets a burst of notices pass.
    async fn settle(&mut self) {
        let burst = async { while let Ok(Some(())) = tokio::time::timeout(QUIET, self.notices.recv()).await {} };
        // Either end of the burst will do.
        drop(tokio::time::timeout(PATIENCE, burst).await);
    }

    /// Remembers the contents as they are and returns the first path whose content differs from before.
    fn first_difference(&mut self) -> Option<PathBuf> {
        let mut first = None;
        for (path, seen) in &mut self.contents {
            let now = digest(path);
            if *seen != now {
                *seen = now;
                first.get_or_insert_with(|| path.clone());
            }
        }
        first
    }
}

/// The nearest directory above `path` that exists: a file that was looked for and not found may appear later.
fn existing_parent(path: &Path) -> Option<PathBuf> {
    path.ancestors().skip(1).find(|ancestor| ancestor.is_dir()).map(Path::to_path_buf)
}

/// A hash of the content; `None` for what cannot be read.
fn digest(path: &Path) -> Option<u64> {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let content = fs_err::read(path).ok()?;
    let mut hasher = DefaultHasher::new();
    content.hash(&mut hasher);
    Some(hasher.finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(flavor = "current_thread")]
    async fn a_rename_over_the_file_is_seen_and_a_touch_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("compose.yaml");
        fs_err::write(&file, "a").unwrap();
        let mut watch = InputWatch::new().unwrap();
        watch.follow(&BTreeSet::from([file.clone()])).unwrap();

        fs_err::write(&file, "a").unwrap();
        let next = directory.path().join("next");
        fs_err::write(&next, "b").unwrap();
        fs_err::rename(&next, &file).unwrap();

        let deadline = Duration::from_secs(5);
        assert_eq!(tokio::time::timeout(deadline, watch.changed()).await.unwrap().unwrap(), file);
        assert_eq!(watch.first_difference(), None);
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_file_that_appears_is_seen() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("later/.env");
        let mut watch = InputWatch::new().unwrap();
        watch.follow(&BTreeSet::from([file.clone()])).unwrap();
        fs_err::create_dir(directory.path().join("later")).unwrap();
        fs_err::write(&file, "A=1").unwrap();
        let seen = tokio::time::timeout(Duration::from_secs(5), watch.changed()).await;
        assert_eq!(seen.unwrap().unwrap(), file);
    }
}
