//! One build from the request to the image: stages side by side, each as soon as what it reads is done.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use fs_err as fs;
use nix::mount::MsFlags;
use nix::sched::CloneFlags;
use serde::{Deserialize, Serialize};
use stack_cgroup::Hierarchy;
use stack_image::{ImageDocuments, SELF_IMAGE, Store};
use stack_model::{Build, ContainerId, Dockerfile, ImageId, ImageReference, Layout, NamedContext, ProjectName};
use stack_runtime::{RuntimeError, Spawner};

use crate::cache::StepCache;
use crate::error::{BuildError, Text};
use crate::event::BuildEvent;
use crate::files::FileDigests;
use crate::graph::{self, Graph};
use crate::ignore::Ignore;
use crate::stage::{Snapshot, StageRun};
use crate::workshop::{Workshop, abandoned, home};

/// Builds images. One process needs only one.
#[derive(Debug)]
pub struct Builder {
    layout: Layout,
    store: Store,
    tools: Option<Tools>,
    surroundings: Surroundings,
    program: PathBuf,
    shell_on_error: Option<ShellOnError>,
}

/// What programs of steps are run with.
#[derive(Debug)]
pub(crate) struct Tools {
    pub(crate) hierarchy: Hierarchy,
    pub(crate) spawner: Spawner,
}

/// A container with what a step had done when its program failed. It lives while [`Builder::on_failure`]'s function runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Halted {
    /// Where its records are.
    pub layout: Layout,
    /// Its project in them.
    pub project: ProjectName,
    /// Its id.
    pub container: ContainerId,
    /// The shell of the image.
    pub shell: String,
}

/// Told of a container to look around in, or why there is none.
type OnFailure = Box<dyn Fn(Result<&Halted, &BuildError>) + Send + Sync>;

struct ShellOnError(OnFailure);

impl std::fmt::Debug for ShellOnError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ShellOnError")
    }
}

/// What a command passes on to all its builds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Surroundings {
    /// Variables of the command's environment: values of arguments and secrets, proxies, `SOURCE_DATE_EPOCH`.
    pub environment: BTreeMap<String, String>,
    /// Where the command was run: errors name Dockerfiles from here.
    pub working_dir: PathBuf,
}

/// The time of everything new, in seconds since the epoch (reproducible-builds.org).
const EPOCH: &str = "SOURCE_DATE_EPOCH";

/// A finished build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Built {
    /// The digest of its configuration.
    pub id: ImageId,
    /// Its names, every default filled in.
    pub names: Vec<ImageReference>,
    /// Steps that changed files or ran something.
    pub steps: usize,
    /// How many of them were made before.
    pub cached: usize,
}

/// Tells what happens, from any thread.
pub(crate) type Report<'r> = &'r (dyn Fn(BuildEvent) + Sync);

impl Builder {
    /// Prepares this process for builds: it gets a mount namespace of its own, and a spawner from `program`. Call it
    /// while the process has one thread, and do not start supervisors from the process afterwards.
    ///
    /// # Errors
    /// A permission is missing, or the store cannot be opened.
    pub fn start(layout: Layout, program: &Path, surroundings: Surroundings) -> Result<Self, BuildError> {
        let own = nix::sched::unshare(CloneFlags::CLONE_NEWNS).and_then(|()| {
            // What the host mounts and unmounts is still seen; what is mounted here is not seen by the host.
            nix::mount::mount(None::<&str>, "/", None::<&str>, MsFlags::MS_SLAVE | MsFlags::MS_REC, None::<&str>)
        });
        own.map_err(|errno| RuntimeError::Spawner(errno.into()))?;
        let spawner = Spawner::start(program)?;
        let builder = Self::recalling(layout, program, surroundings)?;
        Ok(Self { tools: Some(Tools { hierarchy: Hierarchy::detect()?, spawner }), ..builder })
    }

    /// A builder that changes nothing about the process and makes nothing: where a step was not made before,
    /// [`Builder::build`] ends with [`BuildError::Unmade`].
    ///
    /// # Errors
    /// The store cannot be opened.
    pub fn recalling(layout: Layout, program: &Path, surroundings: Surroundings) -> Result<Self, BuildError> {
        let store = Store::open(&layout)?;
        Ok(Self { layout, store, tools: None, surroundings, program: program.to_owned(), shell_on_error: None })
    }

    /// Builds an image.
    ///
    /// # Errors
    /// See [`BuildError`]. Steps that were done stay in the cache.
    pub fn build(&self, request: &Build, report: &(dyn Fn(BuildEvent) + Sync)) -> Result<Built, BuildError> {
        let built = self.build_leased(request, report);
        // Nobody holds a lease for this build any more.
        self.store.discard_refused();
        built
    }

    fn build_leased(&self, request: &Build, report: &(dyn Fn(BuildEvent) + Sync)) -> Result<Built, BuildError> {
        let request = &self.with_arguments(request);
        let epoch = self.epoch(request)?;
        for platform in &request.platforms {
            graph::check_platform(platform).map_err(BuildError::request)?;
        }
        let names = request.tags.iter().map(|tag| self.name(tag)).collect::<Result<Vec<_>, _>>()?;
        let (text, ignore) = read(request, &self.surroundings.working_dir)?;
        let graph = graph::parse(text, request)?;
        let target = graph.target(request.target.as_deref())?;
        let _lease = self.store.lease()?;
        let workshop = match &self.tools {
            Some(tools) => Some(Workshop::open(&self.layout, &tools.hierarchy)?),
            // What a build that died has left is removed by who can do that.
            None if abandoned(&self.layout).next().is_some() => return Err(BuildError::Unmade),
            None => None,
        };
        let mut cache = StepCache::open(&self.store, home(&self.layout).join("cache"), request.no_cache)?;
        for image in &request.cache_from {
            cache.import(image)?;
        }
        let solver = Solver {
            builder: self,
            request,
            epoch,
            graph: &graph,
            ignore: &ignore,
            workshop: workshop.as_ref(),
            cache: &cache,
            digests: FileDigests::open(home(&self.layout).join("files.json")),
            report,
            slots: Mutex::default(),
            changed: Condvar::new(),
            cancelled: AtomicBool::new(false),
            pulling: Mutex::default(),
            steps: AtomicUsize::new(0),
            cached: AtomicUsize::new(0),
        };
        let snapshot = solver.run(target);
        solver.digests.save();
        let snapshot = snapshot?;
        let config = snapshot.finish(&request.labels, epoch);
        let facts = self.store.add_image(&config, &snapshot.layers, &names)?;
        let count = |counter: &AtomicUsize| counter.load(Ordering::Relaxed);
        Ok(Built { id: facts.id, names, steps: count(&solver.steps), cached: count(&solver.cached) })
    }

    /// Calls a function with a container to look around in, whenever the program of a step fails.
    pub fn on_failure(&mut self, open: OnFailure) {
        self.shell_on_error = Some(ShellOnError(open));
    }

    pub(crate) fn shell_on_error(&self) -> Option<&OnFailure> {
        self.shell_on_error.as_ref().map(|shell| &shell.0)
    }

    /// The request with the values that arguments without one take from the environment.
    fn with_arguments(&self, request: &Build) -> Build {
        let mut request = request.clone();
        for (name, value) in &mut request.args {
            *value = value.take().or_else(|| self.environment().get(name).cloned());
        }
        request
    }

    /// As an argument or a variable; an argument counts more.
    fn epoch(&self, request: &Build) -> Result<Option<i64>, BuildError> {
        let argument = request.args.get(EPOCH).and_then(Option::as_ref);
        let text = argument.or_else(|| self.environment().get(EPOCH)).filter(|text| !text.is_empty());
        let wrong = |text| BuildError::request(format!("{EPOCH} is `{text}`, which is not a number of seconds"));
        text.map(|text| text.parse().map_err(|_| wrong(text))).transpose()
    }

    pub(crate) fn environment(&self) -> &BTreeMap<String, String> {
        &self.surroundings.environment
    }

    fn name(&self, text: &str) -> Result<ImageReference, BuildError> {
        let reference = stack_image::Reference::parse(text).map_err(stack_image::ImageError::from)?;
        Ok(ImageReference::new(reference.to_string()))
    }

    pub(crate) fn store(&self) -> &Store {
        &self.store
    }

    pub(crate) fn layout(&self) -> &Layout {
        &self.layout
    }

    pub(crate) fn tools(&self) -> Result<&Tools, BuildError> {
        self.tools.as_ref().ok_or(BuildError::Unmade)
    }
}

/// The images that the stages of a build begin with, as its Dockerfile names them; none where it cannot be read: the
/// build itself says why.
pub fn bases(request: &Build) -> BTreeSet<String> {
    let Ok((text, _)) = read(request, Path::new("/")) else { return BTreeSet::new() };
    let Ok(graph) = graph::parse(text, request) else { return BTreeSet::new() };
    let image = |stage: graph::Stage| match stage.base {
        graph::Source::Image(name) => Some(name),
        _ => None,
    };
    graph.stages.into_iter().filter_map(image).collect()
}

/// The Dockerfile and what the context leaves out.
fn read(request: &Build, here: &Path) -> Result<(Text, Ignore), BuildError> {
    let context = &request.context;
    if !context.is_dir() {
        let message = format!("the context {} is no directory", context.display());
        let hint = Some("contexts from git or http are not supported".to_owned());
        return Err(BuildError::Request { message, hint });
    }
    let (text, own_ignore) = match &request.dockerfile {
        Dockerfile::Inline(text) => (Text { name: "dockerfile_inline".to_owned(), text: text.clone() }, None),
        Dockerfile::File(file) => {
            let path = context.join(file);
            let text = read_bounded(&path).map_err(|error| match error.kind() {
                std::io::ErrorKind::NotFound => BuildError::Request {
                    message: format!("there is no Dockerfile {}", path.display()),
                    hint: Some(
                        "create it, or name another: `dockerfile:` in the file, -f on the command line".to_owned(),
                    ),
                },
                _ => BuildError::io("read the Dockerfile", &path)(error),
            })?;
            let text = String::from_utf8_lossy(&text).into_owned();
            let named = path.strip_prefix(here).or_else(|_| path.strip_prefix(context)).unwrap_or(&path);
            let name = named.display().to_string();
            let mut ignore = path.into_os_string();
            ignore.push(".dockerignore");
            (Text { name, text }, Some(PathBuf::from(ignore)))
        }
    };
    let files = own_ignore.into_iter().chain([context.join(".dockerignore")]);
    let ignore = files.into_iter().find_map(|path| read_bounded(&path).ok());
    Ok((text, ignore.map(|text| Ignore::parse(&String::from_utf8_lossy(&text))).unwrap_or_default()))
}

/// Largest Dockerfile and `.dockerignore`, in bytes.
const TEXT_MAX: u64 = 16 << 20;

fn read_bounded(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    std::io::Read::read_to_end(&mut std::io::Read::take(fs::File::open(path)?, TEXT_MAX + 1), &mut bytes)?;
    match bytes.len() as u64 > TEXT_MAX {
        true => Err(std::io::Error::other(format!("it is larger than {TEXT_MAX} bytes"))),
        false => Ok(bytes),
    }
}

/// How far a stage is.
#[derive(Debug)]
enum Slot {
    Done(Arc<Snapshot>),
    Failed,
}

/// What all stages of a build share.
pub(crate) struct Solver<'b> {
    pub(crate) builder: &'b Builder,
    pub(crate) request: &'b Build,
    /// Seconds since 1970 that everything new gets.
    pub(crate) epoch: Option<i64>,
    pub(crate) graph: &'b Graph,
    pub(crate) ignore: &'b Ignore,
    workshop: Option<&'b Workshop<'b>>,
    pub(crate) cache: &'b StepCache<'b>,
    pub(crate) digests: FileDigests,
    pub(crate) report: Report<'b>,
    slots: Mutex<BTreeMap<usize, Slot>>,
    changed: Condvar,
    cancelled: AtomicBool,
    pulling: Mutex<BTreeSet<String>>,
    pub(crate) steps: AtomicUsize,
    pub(crate) cached: AtomicUsize,
}

impl Solver<'_> {
    fn run(&self, target: usize) -> Result<Arc<Snapshot>, BuildError> {
        let needed = self.graph.closure(target);
        if self.workshop.is_none() {
            // Each reads only stages before it, and whoever asks may have to have one thread.
            for number in &needed {
                self.fill(*number, Slot::Done(Arc::new(StageRun::run(self, *number)?)));
            }
            return self.wait(target);
        }
        let failures = Mutex::new(Vec::new());
        std::thread::scope(|scope| {
            for number in &needed {
                let failures = &failures;
                scope.spawn(move || {
                    // A stage that panics must not leave the others waiting.
                    let guard = FailOnDrop { solver: self, number: *number };
                    match StageRun::run(self, *number) {
                        Ok(snapshot) => self.fill(*number, Slot::Done(Arc::new(snapshot))),
                        Err(error) => failures.lock().unwrap_or_else(PoisonError::into_inner).push(error),
                    }
                    drop(guard);
                });
            }
        });
        let mut failures = failures.into_inner().unwrap_or_else(PoisonError::into_inner);
        if !failures.is_empty() {
            let first = failures.iter().position(|error| !matches!(error, BuildError::Elsewhere)).unwrap_or(0);
            return Err(failures.swap_remove(first));
        }
        self.wait(target)
    }

    /// The place to make something.
    pub(crate) fn workshop(&self) -> Result<&'_ Workshop<'_>, BuildError> {
        self.workshop.ok_or(BuildError::Unmade)
    }

    fn fill(&self, number: usize, slot: Slot) {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        slots.entry(number).or_insert(slot);
        self.changed.notify_all();
    }

    /// Waits for another stage.
    pub(crate) fn wait(&self, number: usize) -> Result<Arc<Snapshot>, BuildError> {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            match slots.get(&number) {
                Some(Slot::Done(snapshot)) => return Ok(Arc::clone(snapshot)),
                Some(Slot::Failed) => return Err(BuildError::Elsewhere),
                None => slots = self.changed.wait(slots).unwrap_or_else(PoisonError::into_inner),
            }
        }
    }

    /// Another stage has failed: there is no use in going on.
    pub(crate) fn check(&self) -> Result<(), BuildError> {
        if self.cancelled.load(Ordering::Relaxed) { Err(BuildError::Elsewhere) } else { Ok(()) }
    }

    /// An image by name, fetched where it is missing or, once a build, where newer ones are asked for.
    pub(crate) fn image(&self, name: &str) -> Result<ImageDocuments, BuildError> {
        let store = &self.builder.store;
        let reference = self.builder.name(name)?;
        if self.request.contexts.values().any(|context| matches!(context, NamedContext::Built(built) if built == name))
        {
            let missing = || BuildError::Request {
                message: format!("the image {name} of another service has not been built"),
                hint: Some("if a profile keeps that service away, name the profile with --profile".to_owned()),
            };
            return store.documents(&reference)?.ok_or_else(missing);
        }
        if reference.as_str() == SELF_IMAGE || name == SELF_IMAGE {
            store.ensure_self_image(&self.builder.program)?;
        }
        let mut pulled = self.pulling.lock().unwrap_or_else(PoisonError::into_inner);
        let wants_newer = self.request.pull && !pulled.contains(reference.as_str());
        if wants_newer || store.find(&reference)?.is_none() {
            self.workshop()?;
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let runtime = runtime.map_err(BuildError::io("start the event loop for", name))?;
            runtime.block_on(store.pull(&reference, &|_| {}))?;
            pulled.insert(reference.as_str().to_owned());
        }
        let found = store.documents(&reference)?;
        found.ok_or_else(|| BuildError::request(format!("the image {name} was removed while it was needed")))
    }
}

struct FailOnDrop<'s> {
    solver: &'s Solver<'s>,
    number: usize,
}

impl Drop for FailOnDrop<'_> {
    fn drop(&mut self) {
        // Filled already when all went well.
        let is_done = {
            let slots = self.solver.slots.lock().unwrap_or_else(PoisonError::into_inner);
            slots.contains_key(&self.number)
        };
        if !is_done {
            self.solver.cancelled.store(true, Ordering::Relaxed);
            self.solver.fill(self.number, Slot::Failed);
        }
    }
}
