//! From the input files to the desired state, again after every save.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use stack_compose::{DiskLoader, Loaded};
use stack_engine::Message;
use stack_model::{Desired, Diagnostic, Layout, ProjectName, ProjectSource, Severity};
use tokio::sync::{Notify, mpsc};

use crate::watch::InputWatch;

/// A project that was read without an error.
#[derive(Debug)]
pub(crate) struct Accepted {
    pub(crate) desired: Desired,
    pub(crate) warnings: Vec<Diagnostic>,
    inputs: BTreeSet<PathBuf>,
}

/// Reads the project. It remembers the source of the last `up`, on disk too, so that a save can be applied by a
/// supervisor that was started after a crash.
#[derive(Debug, Clone)]
pub(crate) struct ProjectLoader {
    remembered: PathBuf,
    instance: String,
    current: Rc<RefCell<Option<Remembered>>>,
    /// The source or the set of inputs is new.
    renewed: Rc<Notify>,
}

#[derive(Debug, Clone)]
struct Remembered {
    source: ProjectSource,
    inputs: BTreeSet<PathBuf>,
}

impl ProjectLoader {
    /// A loader that goes on with the source of an earlier supervisor, if there is one.
    pub(crate) fn new(layout: &Layout, project: &ProjectName) -> Self {
        let remembered = layout.project(project).join("source.json");
        let source =
            fs_err::read(&remembered).ok().and_then(|text| serde_json::from_slice::<ProjectSource>(&text).ok());
        let current = source.map(|source| Remembered { inputs: load(&source).inputs, source });
        Self {
            remembered,
            instance: layout.instance(),
            current: Rc::new(RefCell::new(current)),
            renewed: Rc::new(Notify::new()),
        }
    }

    /// Reads a project and makes it the one that is watched. An error changes nothing.
    pub(crate) async fn accept(&self, source: ProjectSource) -> Result<Accepted, Vec<Diagnostic>> {
        let accepted = self.look(source.clone()).await?;
        self.remember(&source);
        *self.current.borrow_mut() = Some(Remembered { source, inputs: accepted.inputs.clone() });
        self.renewed.notify_one();
        Ok(accepted)
    }

    /// Reads a project.
    pub(crate) async fn look(&self, source: ProjectSource) -> Result<Accepted, Vec<Diagnostic>> {
        // The loader is total by its own tests; should it fail them here, the input is refused like any other.
        let loaded = tokio::task::spawn_blocking(move || load(&source)).await;
        self.lower(loaded.map_err(|panic| vec![internal(&panic.to_string())])?)
    }

    fn lower(&self, loaded: Loaded) -> Result<Accepted, Vec<Diagnostic>> {
        let Loaded { project, diagnostics, inputs, .. } = loaded;
        let Some(project) = project else { return Err(diagnostics) };
        if diagnostics.iter().any(|diagnostic| diagnostic.severity == Severity::Error) {
            return Err(diagnostics);
        }
        Ok(Accepted { desired: project.lower(&self.instance), warnings: diagnostics, inputs })
    }

    /// Follows the input files and tells the engine about every save, for as long as the task lives.
    pub(crate) async fn watch(self, engine: mpsc::Sender<Message>) {
        let mut watch = match InputWatch::new() {
            Ok(watch) => watch,
            Err(error) => return self.give_up(&engine, &error).await,
        };
        loop {
            let inputs = self.current.borrow().as_ref().map(|current| current.inputs.clone()).unwrap_or_default();
            if let Err(error) = watch.follow(&inputs) {
                return self.give_up(&engine, &error).await;
            }
            tokio::select! {
                () = self.renewed.notified() => {}
                changed = watch.changed() => match changed {
                    Ok(path) => if !self.reload(&engine, &path).await { return },
                    Err(error) => return self.give_up(&engine, &error).await,
                }
            }
        }
    }

    /// Applies a save; `false` when the engine has ended.
    async fn reload(&self, engine: &mpsc::Sender<Message>, saved: &Path) -> bool {
        let source = self.current.borrow().as_ref().map(|current| current.source.clone());
        let Some(source) = source else { return true };
        let reason = format!("{} saved", file_name(saved));
        let message = match self.look(source).await {
            // The inputs are those of the last version that could be read: they include what is being mended.
            Err(diagnostics) => Message::Rejected { reason, diagnostics },
            Ok(accepted) => {
                if let Some(current) = self.current.borrow_mut().as_mut() {
                    current.inputs.clone_from(&accepted.inputs);
                }
                Message::Input {
                    desired: accepted.desired,
                    reason,
                    warnings: accepted.warnings,
                    options: None,
                    reply: None,
                }
            }
        };
        engine.send(message).await.is_ok()
    }

    async fn give_up(&self, engine: &mpsc::Sender<Message>, error: &crate::failure::WatchError) {
        let diagnostics = vec![internal(&error.to_string())];
        // An engine that has ended needs no word.
        drop(engine.send(Message::Rejected { reason: "watching".to_owned(), diagnostics }).await);
    }

    /// Writes the source down. Without the file a later supervisor would not notice saves until the next `up`.
    fn remember(&self, source: &ProjectSource) {
        let write = || -> std::io::Result<()> {
            let text = serde_json::to_vec_pretty(source)?;
            let part = self.remembered.with_extension("json.part");
            if let Some(directory) = part.parent() {
                fs_err::create_dir_all(directory)?;
            }
            // It holds the environment of a user.
            let file = {
                use fs_err::os::unix::fs::OpenOptionsExt;
                fs_err::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&part)?
            };
            std::io::Write::write_all(&mut { file }, &text)?;
            fs_err::rename(&part, &self.remembered)
        };
        // Losing it loses comfort, not state.
        drop(write());
    }
}

fn load(source: &ProjectSource) -> Loaded {
    stack_compose::load(source, &DiskLoader)
}

fn file_name(path: &Path) -> String {
    path.file_name().map_or_else(|| path.display().to_string(), |name| name.to_string_lossy().into_owned())
}

fn internal(message: &str) -> Diagnostic {
    Diagnostic {
        code: "supervisor".to_owned(),
        severity: Severity::Error,
        message: message.to_owned(),
        labels: Vec::new(),
        reason: None,
        help: Some("saves are not noticed until the next `stack up`".to_owned()),
        patch: None,
    }
}
