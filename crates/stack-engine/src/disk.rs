//! The journal as a file of the project's directory.

use std::io::Write;
use std::path::PathBuf;

use fs_err::os::unix::fs::OpenOptionsExt;
use stack_model::{Layout, ProjectName};

use crate::journal::{JournalError, JournalStore, Survives};

/// `journal.json` below [`Layout::project`].
#[derive(Debug)]
pub struct DiskJournal {
    project: ProjectName,
    instance: String,
    path: PathBuf,
}

impl DiskJournal {
    /// The journal of `project`. Nothing is read or made yet.
    pub fn new(layout: &Layout, project: &ProjectName) -> Self {
        let path = layout.project(project).join("journal.json");
        Self { project: project.clone(), instance: layout.instance(), path }
    }

    fn write(&self, text: &str, survives: Survives) -> std::io::Result<()> {
        let part = self.path.with_extension("json.part");
        if let Some(directory) = part.parent() {
            fs_err::create_dir_all(directory)?;
        }
        // It holds environments, and those hold passwords.
        let mut file = fs_err::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&part)?;
        file.write_all(text.as_bytes())?;
        fs_err::rename(&part, &self.path)?;
        if survives == Survives::PowerLoss {
            flush(file, self.path.parent().map(PathBuf::from));
        }
        Ok(())
    }
}

/// Sends a file and its name to the disk, beside the loop: a flush takes milliseconds in which the loop could start
/// containers. That the name comes first only matters when power fails in between; an empty journal is as good as none.
fn flush(file: fs_err::File, directory: Option<PathBuf>) {
    let flush = move || -> std::io::Result<()> {
        file.sync_all()?;
        directory.map_or(Ok(()), |directory| fs_err::File::open(directory)?.sync_all())
    };
    match tokio::runtime::Handle::try_current() {
        // Nobody waits for it, and a disk that cannot flush shows itself at the next write.
        Ok(runtime) => drop(runtime.spawn_blocking(flush)),
        Err(_) => drop(flush()),
    }
}

impl JournalStore for DiskJournal {
    fn project(&self) -> &ProjectName {
        &self.project
    }

    fn instance(&self) -> &str {
        &self.instance
    }

    fn load(&mut self) -> Result<Option<String>, JournalError> {
        match fs_err::read_to_string(&self.path) {
            Ok(text) => Ok(Some(text)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(JournalError::Read(error)),
        }
    }

    fn save(&mut self, text: &str, survives: Survives) -> Result<(), JournalError> {
        self.write(text, survives).map_err(JournalError::Write)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use stack_model::Now;

    use super::*;
    use crate::Journal;

    fn layout(directory: &tempfile::TempDir) -> Layout {
        Layout { root: directory.path().join("root"), run: directory.path().join("run") }
    }

    #[test]
    fn a_journal_is_read_back_and_is_private() {
        let directory = tempfile::tempdir().unwrap();
        let (layout, project) = (layout(&directory), ProjectName::new("shop"));
        let mut journal = Journal::load(DiskJournal::new(&layout, &project));
        assert!(journal.lost.is_none() && journal.desired().is_none());
        journal.generation = 7;
        journal.steps = vec!["container:web/0 start c9d1".to_owned()];
        journal.touch(Survives::PowerLoss);
        journal.save(Now(1)).unwrap();
        let path = layout.project(&project).join("journal.json");
        assert_eq!(fs_err::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(!path.with_extension("json.part").exists());
        let again = Journal::load(DiskJournal::new(&layout, &project));
        assert_eq!((again.generation(), again.steps()), (7, journal.steps()));
    }

    #[test]
    fn a_broken_journal_is_as_good_as_none() {
        let directory = tempfile::tempdir().unwrap();
        let (layout, project) = (layout(&directory), ProjectName::new("shop"));
        fs_err::create_dir_all(layout.project(&project)).unwrap();
        fs_err::write(layout.project(&project).join("journal.json"), "").unwrap();
        let journal = Journal::load(DiskJournal::new(&layout, &project));
        assert!(matches!(journal.lost, Some(JournalError::Parse(_))));
        assert_eq!(journal.generation(), 0);
    }

    #[test]
    fn a_journal_of_an_older_version_is_understood() {
        let directory = tempfile::tempdir().unwrap();
        let (layout, project) = (layout(&directory), ProjectName::new("shop"));
        fs_err::create_dir_all(layout.project(&project)).unwrap();
        let text = r#"{ "generation": 3, "policy": {}, "history": { "sequence": 5 }, "desired": null }"#;
        fs_err::write(layout.project(&project).join("journal.json"), text).unwrap();
        let journal = Journal::load(DiskJournal::new(&layout, &project));
        assert!(journal.lost.is_none(), "{:?}", journal.lost);
        assert_eq!((journal.generation(), journal.history().sequence), (3, 5));
    }
}
