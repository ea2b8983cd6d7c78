//! From the input files to the desired state, again after every save.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

use stack_compose::{DiskLoader, Loaded};
use stack_engine::Message;
use stack_image::Store;
use stack_model::{Build, Desired, Diagnostic, Layout, ProjectName, ProjectSource, Service, ServiceName, Severity};
use tokio::sync::{Notify, mpsc};

use crate::observe::find_images;
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
    store: Arc<Store>,
}

#[derive(Debug, Clone)]
struct Remembered {
    source: ProjectSource,
    inputs: BTreeSet<PathBuf>,
    /// How images were made by the last input that was accepted.
    builds: Builds,
}

type Builds = BTreeMap<ServiceName, Build>;

impl ProjectLoader {
    /// A loader that goes on with the source of an earlier supervisor, if there is one.
    pub(crate) fn new(layout: &Layout, project: &ProjectName, store: Arc<Store>) -> Self {
        let remembered = layout.source(project);
        let source =
            fs_err::read(&remembered).ok().and_then(|text| serde_json::from_slice::<ProjectSource>(&text).ok());
        let current = source.map(|source| {
            let Loaded { project, inputs, .. } = load(&source);
            let builds = project.map(|project| builds(&project.lower(""))).unwrap_or_default();
            Remembered { inputs, source, builds }
        });
        Self {
            remembered,
            instance: layout.instance(),
            current: Rc::new(RefCell::new(current)),
            renewed: Rc::new(Notify::new()),
            store,
        }
    }

    /// Reads a project and makes it the one that is watched. An error changes nothing.
    pub(crate) async fn accept(&self, source: ProjectSource) -> Result<Accepted, Vec<Diagnostic>> {
        let accepted = self.look(source.clone()).await?;
        self.remember(&source);
        let builds = builds(&accepted.desired);
        *self.current.borrow_mut() = Some(Remembered { source, inputs: accepted.inputs.clone(), builds });
        self.renewed.notify_one();
        Ok(accepted)
    }

    /// Reads a project.
    pub(crate) async fn look(&self, source: ProjectSource) -> Result<Accepted, Vec<Diagnostic>> {
        // The loader is total by its own tests; should it fail them here, the input is refused like any other.
        let (instance, store) = (self.instance.clone(), self.store.clone());
        let read = tokio::task::spawn_blocking(move || read(&source, &instance, &store)).await;
        read.unwrap_or_else(|panic| Err(vec![internal(&panic.to_string())]))
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
            Ok(mut accepted) => {
                if let Some(current) = self.current.borrow_mut().as_mut() {
                    current.inputs.clone_from(&accepted.inputs);
                    let builds = builds(&accepted.desired);
                    let before = std::mem::replace(&mut current.builds, builds);
                    accepted.warnings.extend(stale_builds(&before, &accepted.desired));
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

fn read(source: &ProjectSource, instance: &str, store: &Store) -> Result<Accepted, Vec<Diagnostic>> {
    let Loaded { project, diagnostics, inputs, .. } = load(source);
    let Some(project) = project else { return Err(diagnostics) };
    if diagnostics.iter().any(|diagnostic| diagnostic.severity == Severity::Error) {
        return Err(diagnostics);
    }
    let mut desired = project.lower(instance);
    let images = find_images(store, &desired);
    for service in desired.services.values_mut() {
        service.accepted_image = images.get(&service.container.image).map(|facts| facts.id.clone());
    }
    Ok(Accepted { desired, warnings: diagnostics, inputs })
}

fn builds(desired: &Desired) -> Builds {
    let build = |(name, service): (&ServiceName, &Service)| Some((name.clone(), (**service.build.as_ref()?).clone()));
    desired.services.iter().filter_map(build).collect()
}

/// A save does not build: a service whose image would now be made in another way goes on with the one it has.
fn stale_builds(before: &Builds, desired: &Desired) -> Vec<Diagnostic> {
    let changed = desired.services.iter().filter(|(name, service)| {
        let (old, new) = (before.get(*name), service.build.as_deref());
        old.is_some() && new.is_some() && old != new
    });
    let warning = |(name, service): (&ServiceName, &Service)| Diagnostic {
        code: "build-changed".to_owned(),
        severity: Severity::Warning,
        message: format!(
            "{}: the `build` of service `{name}` has changed, and its image has not",
            service.origin_of("build")
        ),
        labels: Vec::new(),
        reason: Some("a save does not build".to_owned()),
        help: Some("run `stack up --build`".to_owned()),
        patch: None,
    };
    changed.map(warning).collect()
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
