//! What every verb starts from: the machine, the project's source, how to show things.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use stack_compose::{DiskLoader, Loaded, Phases, Project};
use stack_engine::Machine;
use stack_image::{AccessPolicy, ImageError};
use stack_model::{Desired, Failure, Fault, Layout, Now, Observed, ProjectName, ProjectSource, Severity};

use crate::arguments::{Global, Progress, Verb};
use crate::client::{Accepted, Client, Refusal};
use crate::error::CliError;
use crate::{output, trust};

/// How often a request is made of a supervisor that may be on its way out.
const REQUEST_TRIES: u32 = 10;
/// Between two of them; a supervisor ends within a fifth of a second.
const REQUEST_REST: rustix::event::Timespec = rustix::event::Timespec { tv_sec: 0, tv_nsec: 30_000_000 };

/// The surroundings of a verb.
pub(crate) struct Context {
    pub(crate) machine: Box<dyn Machine>,
    pub(crate) source: ProjectSource,
    /// What the file asks of the machine is agreed to.
    trusts: bool,
    /// What is done about files that reach the machine.
    policy: Result<AccessPolicy, ImageError>,
    pub(crate) progress: Progress,
    pub(crate) shown: Shown,
}

/// What `config` is to show, of what stands before the verb.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shown {
    pub(crate) all_resources: bool,
    pub(crate) compatibility: bool,
}

impl Context {
    /// Takes the surroundings from the options, the environment and the working directory.
    pub(crate) fn new(global: Global, machine: impl Fn(Layout) -> Box<dyn Machine>) -> Result<Self, CliError> {
        let here =
            std::env::current_dir().map_err(|error| CliError::io("cannot find the working directory", &error))?;
        let environment: BTreeMap<String, String> = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect();
        let absolute = |path: &PathBuf| if path.as_os_str() == "-" { path.clone() } else { here.join(path) };
        let asks_stdin = global.file.iter().any(|path| path.as_os_str() == "-");
        let stdin = asks_stdin.then(standard_input).transpose()?;
        let mut source = ProjectSource {
            files: global.file.iter().map(absolute).collect(),
            project_dir: global.project_directory.as_ref().map(absolute),
            project_name: global.project_name,
            profiles: global.profile,
            env_files: global.env_file.iter().map(absolute).collect(),
            environment,
            stdin,
            trust: None,
            asked: now(),
            working_dir: here.clone(),
        };
        let layout =
            layout(global.root.map(|path| here.join(path)), global.run_dir.map(|path| here.join(path)), &source);
        // One that cannot be read is an error of the verbs that heed it; until then it is the strictest one.
        let policy = stack_image::access_policy();
        source.trust = matches!(policy, Ok(AccessPolicy::Ask) | Err(_)).then(|| layout.trust());
        output::set_ansi(global.ansi);
        let shown = Shown { all_resources: global.all_resources, compatibility: global.compatibility };
        Ok(Self { machine: machine(layout), source, trusts: global.trust, policy, progress: global.progress, shown })
    }

    /// Refuses what only `config` heeds: other verbs would do something else than was asked for.
    pub(crate) fn check_options(&self, verb: &Verb) -> Result<(), CliError> {
        let Shown { all_resources, compatibility } = self.shown;
        let given = [("--all-resources", all_resources), ("--compatibility", compatibility)];
        match given.into_iter().find(|(_, is_given)| *is_given) {
            Some((option, _)) if !matches!(verb, Verb::Config(_)) => {
                Err(CliError::user(format!("`{option}` is only an option of `stack config`; leave it out")))
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Reads the project to run it.
    pub(crate) fn load(&self) -> Loaded {
        stack_compose::load(&self.source, &DiskLoader)
    }

    /// Reads the project to show it.
    pub(crate) fn read(&self, phases: Phases) -> Loaded {
        stack_compose::read(&self.source, &DiskLoader, phases)
    }

    /// Reads the project to run it; warnings are shown, errors are returned, all of them.
    pub(crate) fn project(&self) -> Result<Project, CliError> {
        if let Err(error) = &self.policy {
            return Err(CliError::user(error.to_string()));
        }
        if self.trusts {
            let source = ProjectSource { trust: None, ..self.source.clone() };
            // What is wrong with it is said below.
            if let Some(project) = stack_compose::load(&source, &DiskLoader).project {
                trust::agree(self.machine.layout(), &project)?;
            }
        }
        Self::accept(self.load())
    }

    /// The same for a verb that goes on to run it: what it asks of the machine for the first time is said.
    pub(crate) fn project_to_run(&self) -> Result<Project, CliError> {
        let project = self.project()?;
        if matches!(self.policy, Ok(AccessPolicy::Tell)) {
            trust::tell(self.machine.layout(), &project)?;
        }
        Ok(project)
    }

    /// Reads the project to show it; warnings are shown, errors are returned, all of them.
    pub(crate) fn shown_project(&self, phases: Phases) -> Result<Project, CliError> {
        Self::accept(self.read(phases))
    }

    /// The same with these profiles instead of those that were asked for.
    pub(crate) fn shown_with_profiles(&self, phases: Phases, profiles: Vec<String>) -> Result<Project, CliError> {
        let source = ProjectSource { profiles, ..self.source.clone() };
        Self::accept(stack_compose::read(&source, &DiskLoader, phases))
    }

    /// Variables that the files use.
    pub(crate) fn variables(&self) -> Vec<stack_compose::UsedVariable> {
        stack_compose::used_variables(&self.source, &DiskLoader)
    }

    fn accept(loaded: Loaded) -> Result<Project, CliError> {
        let Loaded { project, diagnostics, texts, .. } = loaded;
        let is_error = diagnostics.iter().any(|diagnostic| diagnostic.severity == Severity::Error);
        match project {
            Some(project) if !is_error => {
                output::report_diagnostics(&diagnostics, &texts);
                Ok(project)
            }
            Some(_) | None => Err(CliError::Project { diagnostics, texts }),
        }
    }

    /// The name of the project, for verbs that can do without its file: `-p` gives it where there is none, and a project
    /// that is up can be stopped although its file is broken at the moment.
    pub(crate) fn project_name(&self) -> Result<ProjectName, CliError> {
        let variable = || self.source.environment.get("COMPOSE_PROJECT_NAME").cloned();
        let named = self.source.project_name.clone().or_else(variable);
        if let Some(name) = named.filter(|name| !name.is_empty()) {
            return ProjectName::parse(&name).map_err(|error| CliError::user(error.to_string()));
        }
        let Loaded { project, diagnostics, texts, .. } = self.read(Phases::default());
        match (project, self.directory_name()) {
            (Some(project), _) => Ok(project.name().clone()),
            (None, Some(name)) if self.exists(&name) => Ok(name),
            (None, _) => Err(CliError::Project { diagnostics, texts }),
        }
    }

    /// The name that a file without `name` gets: the directory's, with what a name may not have left out.
    fn directory_name(&self) -> Option<ProjectName> {
        let ProjectSource { files, working_dir, project_dir, .. } = &self.source;
        let of_file = files.first().and_then(|file| file.parent());
        let directory = project_dir.as_deref().or(of_file).unwrap_or(working_dir);
        let name = directory.file_name()?.to_string_lossy().to_lowercase();
        let is_valid = |c: &char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '_' | '-');
        let name: String = name.chars().filter(is_valid).collect();
        ProjectName::parse(name.trim_start_matches(['_', '-'])).ok()
    }

    /// Speaks to the supervisor of a project, which is started where it is missing.
    pub(crate) fn connect(&self, project: &ProjectName) -> Result<Client, CliError> {
        self.machine.ensure_supervisor(project, &self.source.working_dir)?;
        Client::connect(&self.machine.layout().control_socket(project))
            .map_err(|error| CliError::io("cannot reach the supervisor", &error))
    }

    /// Makes a request of the supervisor of a project, which is started where it is missing. One that is on its way out
    /// may still take the connection and then lose it: the request is made again, of its successor.
    pub(crate) fn request(
        &self,
        project: &ProjectName,
        ask: impl Fn(&mut Client) -> Result<Accepted, Refusal>,
    ) -> Result<(Client, Accepted), CliError> {
        Self::persist(|| {
            let mut client = self.connect(project)?;
            Ok(ask(&mut client).map(|accepted| (client, accepted)))
        })
    }

    /// Asks until somebody answers who is not on the way out.
    pub(crate) fn persist<T>(ask: impl Fn() -> Result<Result<T, Refusal>, CliError>) -> Result<T, CliError> {
        let mut tries = REQUEST_TRIES;
        loop {
            tries -= 1;
            match ask()? {
                Ok(answer) => return Ok(answer),
                Err(Refusal::Refused(failure)) if tries > 0 && failure.fault == Fault::Transient => {
                    // Nothing can be waited for: the old supervisor has no more words for us.
                    let _ = rustix::event::poll(&mut [], Some(&REQUEST_REST));
                }
                Err(refusal) => return Err(refusal.into()),
            }
        }
    }

    /// Speaks to the supervisor of a project, if one runs.
    pub(crate) fn connect_if_running(&self, project: &ProjectName) -> Option<Client> {
        Client::connect(&self.machine.layout().control_socket(project)).ok()
    }

    /// There is something of the project, or somebody who supervises it.
    pub(crate) fn is_up(&self, project: &ProjectName) -> bool {
        self.exists(project) || self.connect_if_running(project).is_some()
    }

    /// Refuses a project of which there is nothing.
    pub(crate) fn require_up(&self, project: &ProjectName) -> Result<(), CliError> {
        if self.is_up(project) {
            return Ok(());
        }
        let failure = Failure::new(Fault::Missing, format!("project `{project}` is not up"));
        Err(failure.hint("run `stack up` first").into())
    }

    /// Whether there is anything of a project on this machine.
    pub(crate) fn exists(&self, project: &ProjectName) -> bool {
        self.machine.layout().project(project).join("journal.json").exists()
    }

    /// The desired state that was last accepted; `None` for a project that is not up.
    pub(crate) fn last_desired(&self, project: &ProjectName) -> Option<Desired> {
        self.machine.last_desired(project).ok().flatten()
    }

    /// What there is of a project: the supervisor knows best, else a look at kernel and disk.
    pub(crate) fn observe(&self, project: &ProjectName) -> Result<Observed, CliError> {
        if let Some(mut client) = self.connect_if_running(project)
            && let Ok(observed) = client.status()
        {
            return Ok(observed);
        }
        let last = self.machine.last_desired(project)?;
        let desired = last.unwrap_or_else(|| self.empty(project));
        Ok(self.machine.observe(&desired)?)
    }

    /// A project without anything in it.
    fn empty(&self, project: &ProjectName) -> Desired {
        Desired {
            project: project.clone(),
            instance: self.machine.layout().instance(),
            generation: 0,
            networks: BTreeMap::new(),
            volumes: BTreeMap::new(),
            services: BTreeMap::new(),
            discard_volumes: Vec::new(),
            stop_grace: None,
        }
    }
}

/// Root's places, or those of the XDG base directory specification for everybody else.
fn layout(root: Option<PathBuf>, run: Option<PathBuf>, source: &ProjectSource) -> Layout {
    let is_root = rustix::process::geteuid().is_root();
    let variable = |name: &str| source.environment.get(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let home = || variable("HOME").unwrap_or_else(|| PathBuf::from("/"));
    let root_default = || {
        if is_root {
            PathBuf::from("/var/lib/stack")
        } else {
            variable("XDG_DATA_HOME").unwrap_or_else(|| home().join(".local/share")).join("stack")
        }
    };
    let run_default = || {
        if is_root {
            PathBuf::from(Layout::DEFAULT_RUN)
        } else {
            let fallback = || Path::new("/tmp").join(format!("stack-{}", rustix::process::geteuid().as_raw()));
            variable("XDG_RUNTIME_DIR").map_or_else(fallback, |directory| directory.join("stack"))
        }
    };
    Layout { root: root.unwrap_or_else(root_default), run: run.unwrap_or_else(run_default) }
}

/// Milliseconds since the epoch.
pub(crate) fn now() -> Now {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Now(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// All of it, as far as a file may be long.
fn standard_input() -> Result<String, CliError> {
    let mut text = String::new();
    std::io::Read::read_to_string(&mut std::io::Read::take(std::io::stdin(), stack_compose::MAX_FILE_BYTES), &mut text)
        .map_err(|error| CliError::io("cannot read the standard input", &error))?;
    Ok(text)
}
