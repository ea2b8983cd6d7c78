//! What outlives the supervisor: intent, numbers, latencies. Not the truth about the machine; that is looked at.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use stack_model::{Desired, History, Layout, ProjectName};

use crate::Policy;

/// Version of the file. A newer reader fills what is absent with defaults; an older one ignores what it does not know.
const SCHEMA: u32 = 1;
/// Buckets of a histogram: the last one begins at 2^31 microseconds, about 36 minutes.
const BUCKETS: usize = 32;

/// Where a journal is kept.
pub trait JournalStore {
    /// The text of the last save, if there is one.
    fn load(&self) -> Option<Vec<u8>>;
    /// Replaces the text as a whole. `durable`: it has to survive a power failure.
    ///
    /// # Errors
    /// It could not be written; the last one is still there.
    fn save(&mut self, text: &[u8], durable: bool) -> io::Result<()>;
}

/// What is written down.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Record {
    schema: u32,
    pub(crate) generation: u64,
    /// What was last read from the file, before the policy.
    pub(crate) base: Option<Desired>,
    pub(crate) policy: Policy,
    pub(crate) history: History,
    /// Steps that were begun and not known to have ended, for whoever reads the file after a crash.
    pub(crate) in_flight: Vec<String>,
    /// How long steps took, by kind: how many took between 2^n and 2^(n+1) microseconds.
    latency: BTreeMap<String, Vec<u64>>,
}

/// The journal of one project.
#[derive(Debug)]
pub struct Journal<S = DiskJournal> {
    store: S,
    pub(crate) record: Record,
    unsaved: bool,
}

impl<S: JournalStore> Journal<S> {
    /// Reads the journal; one that is missing or unreadable is an empty one.
    pub fn load(store: S) -> Self {
        let record = store.load().and_then(|text| serde_json::from_slice(&text).ok());
        Self { store, record: record.unwrap_or_default(), unsaved: false }
    }

    /// What was last accepted from the file.
    pub fn desired(&self) -> Option<&Desired> {
        self.record.base.as_ref()
    }

    /// How often steps of each kind took between 2^n and 2^(n+1) microseconds, by n.
    pub fn latency(&self) -> &BTreeMap<String, Vec<u64>> {
        &self.record.latency
    }

    /// Changes what is written down, and writes it soon.
    pub(crate) fn change(&mut self) -> &mut Record {
        self.unsaved = true;
        &mut self.record
    }

    /// Counts a step.
    pub(crate) fn count(&mut self, kind: &str, micros: u64) {
        let bucket = usize::try_from(micros.max(1).ilog2()).unwrap_or(0).min(BUCKETS - 1);
        let record = self.change();
        let buckets = record.latency.entry(kind.to_owned()).or_insert_with(|| vec![0; BUCKETS]);
        if let Some(count) = buckets.get_mut(bucket) {
            *count += 1;
        }
    }

    /// Writes down what changed. `intent`: the user asked for something, and a power failure must not take that away.
    ///
    /// # Errors
    /// The disk is full or gone; the next call tries again.
    pub(crate) fn save(&mut self, intent: bool) -> io::Result<()> {
        if !self.unsaved {
            return Ok(());
        }
        self.record.schema = SCHEMA;
        self.store.save(&serde_json::to_vec(&self.record)?, intent)?;
        self.unsaved = false;
        Ok(())
    }
}

/// A journal in the store: `projects/<name>/journal.json`.
#[derive(Debug)]
pub struct DiskJournal {
    path: PathBuf,
}

impl DiskJournal {
    /// The journal of a project.
    pub fn new(layout: &Layout, project: &ProjectName) -> Self {
        Self { path: layout.project(project).join("journal.json") }
    }
}

impl JournalStore for DiskJournal {
    fn load(&self) -> Option<Vec<u8>> {
        fs_err::read(&self.path).ok()
    }

    fn save(&mut self, text: &[u8], durable: bool) -> io::Result<()> {
        use fs_err::os::unix::fs::OpenOptionsExt;
        let part = self.path.with_extension("json.part");
        // It holds environments, and those hold passwords.
        let mut file = fs_err::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&part)?;
        file.write_all(text)?;
        if durable {
            file.sync_data()?;
        }
        fs_err::rename(&part, &self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Default, Clone)]
    struct Memory(std::rc::Rc<std::cell::RefCell<Option<Vec<u8>>>>);

    impl JournalStore for Memory {
        fn load(&self) -> Option<Vec<u8>> {
            self.0.borrow().clone()
        }
        fn save(&mut self, text: &[u8], _durable: bool) -> io::Result<()> {
            *self.0.borrow_mut() = Some(text.to_vec());
            Ok(())
        }
    }

    #[test]
    fn what_was_counted_is_there_again_and_nonsense_is_an_empty_journal() {
        let memory = Memory::default();
        let mut journal = Journal::load(memory.clone());
        journal.count("start", 17_000);
        journal.count("start", 900);
        journal.save(false).unwrap();
        let again = Journal::load(memory.clone());
        assert_eq!((again.latency()["start"][14], again.latency()["start"][9]), (1, 1));
        *memory.0.borrow_mut() = Some(b"{\"generation\": \"x\"".to_vec());
        assert_eq!(Journal::load(memory).record.generation, 0);
    }
}
