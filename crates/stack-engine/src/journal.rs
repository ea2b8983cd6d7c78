//! What outlives the engine: intent, history, and the names of the steps that were under way.
//!
//! It is not a source of truth about the machine. Without it the engine finds every container again, and only loses
//! patience, numbers and what was asked for beside the file.

use std::cell::RefCell;
use std::fmt;
use std::rc::Rc;

use serde::{Deserialize, Serialize};
use stack_model::{Desired, History, Now, ProjectName};

use crate::{Latency, Policy};

/// Version of the format; readers take older ones with defaults for what is absent.
const SCHEMA: u32 = 1;

/// What a saved journal survives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Survives {
    /// The end of the process.
    Crash,
    /// A loss of power, too: what the user asked for.
    PowerLoss,
}

/// A journal that cannot be kept.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// It cannot be read.
    #[error("cannot read the journal")]
    Read(#[source] std::io::Error),
    /// It cannot be written.
    #[error("cannot write the journal")]
    Write(#[source] std::io::Error),
    /// It is not a journal.
    #[error("cannot understand the journal")]
    Parse(#[source] serde_json::Error),
}

/// Where a journal is kept, and whose it is.
pub trait JournalStore: fmt::Debug {
    /// The project it belongs to.
    fn project(&self) -> &ProjectName;
    /// [`Desired::instance`] of the project.
    fn instance(&self) -> &str;
    /// What was saved last; `None` when nothing was.
    ///
    /// # Errors
    /// [`JournalError::Read`].
    fn load(&mut self) -> Result<Option<String>, JournalError>;
    /// Replaces what is kept, at once or not at all.
    ///
    /// # Errors
    /// [`JournalError::Write`].
    fn save(&mut self, text: &str, survives: Survives) -> Result<(), JournalError>;
}

/// The engine's memory.
#[derive(Debug)]
pub struct Journal {
    store: Box<dyn JournalStore>,
    pub(crate) generation: u64,
    pub(crate) base: Option<Rc<Desired>>,
    pub(crate) policy: Policy,
    pub(crate) history: History,
    pub(crate) latency: Latency,
    /// Steps that were under way when the journal was saved.
    pub(crate) steps: Vec<String>,
    /// Why an earlier journal could not be used.
    pub(crate) lost: Option<JournalError>,
    unsaved: Option<Survives>,
    saved: Now,
}

/// The journal as a file has it.
#[derive(Debug, Serialize, Deserialize)]
struct Page<D, P, H, L, S> {
    #[serde(default)]
    schema: u32,
    #[serde(default)]
    generation: u64,
    policy: P,
    history: H,
    #[serde(default)]
    steps: S,
    #[serde(default)]
    latency: L,
    desired: D,
}

type Read = Page<Option<Desired>, Policy, History, Latency, Vec<String>>;
type Written<'a> = Page<Option<&'a Desired>, &'a Policy, &'a History, &'a Latency, &'a [String]>;

impl Journal {
    /// Reads what `store` has. A journal that cannot be read is as good as none; the engine says so once.
    pub fn load(store: impl JournalStore + 'static) -> Self {
        let mut store: Box<dyn JournalStore> = Box::new(store);
        let read = store.load().and_then(|text| {
            text.map(|text| serde_json::from_str::<Read>(&text).map_err(JournalError::Parse)).transpose()
        });
        let (page, lost) = match read {
            Ok(page) => (page, None),
            Err(error) => (None, Some(error)),
        };
        let mut journal = Self {
            store,
            generation: 0,
            base: None,
            policy: Policy::default(),
            history: History::default(),
            latency: Latency::default(),
            steps: Vec::new(),
            lost,
            unsaved: None,
            saved: Now(0),
        };
        if let Some(Page { schema: _, generation, policy, history, steps, latency, desired }) = page {
            journal.base = desired.map(Rc::new);
            (journal.generation, journal.policy, journal.history) = (generation, policy, history);
            (journal.latency, journal.steps) = (latency, steps);
        }
        journal
    }

    /// What the file said when it was last accepted; `None` when the project is down.
    pub fn desired(&self) -> Option<&Desired> {
        self.base.as_deref()
    }

    /// What stands between the file and the desired state.
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// What the plan remembers.
    pub fn history(&self) -> &History {
        &self.history
    }

    /// The last accepted generation.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// How long steps took.
    pub fn latency(&self) -> &Latency {
        &self.latency
    }

    /// Steps that were under way when the journal was last saved.
    pub fn steps(&self) -> &[String] {
        &self.steps
    }

    pub(crate) fn project(&self) -> &ProjectName {
        self.store.project()
    }

    pub(crate) fn instance(&self) -> &str {
        self.store.instance()
    }

    /// Notes that there is something to save.
    pub(crate) fn touch(&mut self, survives: Survives) {
        self.unsaved = match (self.unsaved, survives) {
            (Some(Survives::PowerLoss), _) | (_, Survives::PowerLoss) => Some(Survives::PowerLoss),
            (Some(Survives::Crash) | None, Survives::Crash) => Some(Survives::Crash),
        };
    }

    /// What is not saved yet, and when the last save was.
    pub(crate) fn unsaved(&self) -> Option<(Survives, Now)> {
        self.unsaved.map(|survives| (survives, self.saved))
    }

    /// Saves what was touched.
    pub(crate) fn save(&mut self, now: Now) -> Result<(), JournalError> {
        let Some(survives) = self.unsaved.take() else { return Ok(()) };
        self.saved = now;
        let page: Written<'_> = Page {
            schema: SCHEMA,
            generation: self.generation,
            policy: &self.policy,
            history: &self.history,
            steps: &self.steps,
            latency: &self.latency,
            desired: self.base.as_deref(),
        };
        let text = serde_json::to_string_pretty(&page).map_err(JournalError::Parse)?;
        self.store.save(&text, survives)
    }
}

/// A journal in memory. Clones are the same one.
#[derive(Debug, Clone)]
pub struct MemoryJournal {
    project: ProjectName,
    text: Rc<RefCell<Option<String>>>,
}

impl MemoryJournal {
    /// An empty one.
    pub fn new(project: ProjectName) -> Self {
        Self { project, text: Rc::default() }
    }

    /// Deletes it.
    pub fn delete(&self) {
        self.text.replace(None);
    }

    /// What was saved last.
    pub fn text(&self) -> Option<String> {
        self.text.borrow().clone()
    }
}

impl JournalStore for MemoryJournal {
    fn project(&self) -> &ProjectName {
        &self.project
    }

    fn instance(&self) -> &str {
        ""
    }

    fn load(&mut self) -> Result<Option<String>, JournalError> {
        Ok(self.text())
    }

    fn save(&mut self, text: &str, _: Survives) -> Result<(), JournalError> {
        self.text.replace(Some(text.to_owned()));
        Ok(())
    }
}
