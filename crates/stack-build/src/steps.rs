//! Steps that make layers: RUN, COPY, ADD, WORKDIR.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use fs_err as fs;
use fs_err::os::unix::fs::OpenOptionsExt;
use serde_json::json;
use stack_image::pack::{Changes, pack};
use stack_image::{Lock, StoredLayer};
use stack_model::{Below, BuildNetwork, Bytes, Fault, ResolvedMount, ResolvedSource, SecretSource};

use crate::agent::Agent;
use crate::cache::{KeyMaker, Made};
use crate::copy::{Marks, Target};
use crate::error::{BuildError, Wrong};
use crate::event::BuildEvent;
use crate::glob::Pattern;
use crate::graph::{Source, argument, resolve_from};
use crate::lex::{Raw, document_of};
use crate::mounts::{self, Kind, Owner, RunMount, Sharing};
use crate::run::{self, Command, Runner};
use crate::solve::{Halted, Solver};
use crate::sources::{self, Missing, Tree};
use crate::stage::StageRun;
use crate::time;
use crate::workshop::{View, home};

/// Arguments that every RUN has without ARG, and that do not make another step of it.
const PROXIES: [&str; 10] = [
    "HTTP_PROXY",
    "http_proxy",
    "HTTPS_PROXY",
    "https_proxy",
    "FTP_PROXY",
    "ftp_proxy",
    "NO_PROXY",
    "no_proxy",
    "ALL_PROXY",
    "all_proxy",
];
/// Lines of a failed program that its error repeats.
pub const LAST_LINES: usize = 20;

/// A file tree to read, and what keeps it mounted.
pub(crate) struct Opened<'t> {
    pub(crate) tree: Tree<'t>,
    _view: Option<View>,
}

/// What `--from` names.
pub(crate) enum Named {
    Directory(PathBuf),
    /// Those of an image or stage.
    Layers(Vec<StoredLayer>),
}

/// What stays alive while a program runs.
#[derive(Default)]
struct Kept {
    views: Vec<View>,
    locks: Vec<Lock>,
    files: Vec<fs::File>,
    agents: Vec<Agent>,
}

impl<'s> StageRun<'s> {
    /// Takes what was made before under this key, or makes it; `true` when it was there.
    pub(crate) fn layer(
        &mut self,
        keys: &[&str],
        created_by: &str,
        make: impl FnOnce(&mut Self) -> Result<Option<StoredLayer>, BuildError>,
    ) -> Result<bool, BuildError> {
        let key = keys[0];
        let cache = self.solver.cache;
        self.solver.steps.fetch_add(1, Ordering::Relaxed);
        let is_fresh = self.is_fresh();
        let find = |key: &str| if is_fresh { None } else { cache.find(key) };
        let mut found = keys.iter().find_map(|key| find(key));
        let lock = match found {
            Some(_) => None,
            None => {
                self.solver.workshop()?;
                Some(cache.lock(key)?)
            }
        };
        if lock.is_some() {
            // Whoever had the lock may have made it.
            found = find(key);
        }
        let cached = found.is_some();
        let made = match found {
            Some(made) => {
                self.solver.cached.fetch_add(1, Ordering::Relaxed);
                made
            }
            None => {
                let layer = make(self)?;
                let created = self.solver.epoch.unwrap_or_else(time::now);
                Made { layer, created, key: key.to_owned() }
            }
        };
        if !cached || keys.len() > 1 {
            keys.iter().try_for_each(|key| cache.keep(key, &made))?;
        }
        drop(lock);
        match made.layer {
            Some(layer) => {
                self.state.created = self.solver.epoch.unwrap_or(made.created);
                self.state.layers.push(layer);
                self.note(created_by, Some(&made.key));
            }
            None => self.note(created_by, None),
        }
        Ok(cached)
    }

    /// A key that begins with all that is below a step.
    pub(crate) fn key(&self, kind: &str, above: bool) -> KeyMaker {
        let mut key = KeyMaker::new(kind);
        if above {
            self.state.layers.iter().for_each(|layer| key.add("layer", layer.diff_id().as_str()));
        }
        if let Some(epoch) = self.solver.epoch {
            key.add("epoch", epoch.to_string());
        }
        key
    }

    /// Packs an upper directory into a layer of the store.
    fn commit(
        &self,
        upper: &Path,
        below: &[StoredLayer],
        mount_points: &[PathBuf],
    ) -> Result<Option<StoredLayer>, BuildError> {
        let store = self.solver.builder.store();
        let lower = if below.is_empty() { None } else { Some(self.solver.workshop()?.view(store, below)?) };
        let lower = lower.as_ref().map(View::path);
        let changes = Changes { upper, lower, latest: self.solver.epoch, mount_points };
        Ok(store.add_layer(|output| pack(&changes, output))?)
    }

    /// Changes files of the tree below; `link` does it on nothing, as a layer that stands alone.
    pub(crate) fn change(
        &self,
        link: bool,
        work: impl FnOnce(&mut Target) -> Result<(), BuildError>,
    ) -> Result<Option<StoredLayer>, BuildError> {
        let below: &[StoredLayer] = if link { &[] } else { &self.state.layers };
        let (view, upper) = self.solver.workshop()?.change(self.solver.builder.store(), below)?;
        let mut target = Target::new(view.open()?);
        work(&mut target)?;
        target.finish()?;
        drop(view);
        self.commit(&upper, below, &[])
    }

    pub(crate) fn workdir(&mut self, raw: &Raw) -> Result<bool, BuildError> {
        let path = self.expand(raw, 0, &raw.rest)?;
        let inside = self.absolute(&path);
        let shown = Path::new("/").join(&inside).display().to_string();
        self.state.config.set("WorkingDir", json!(shown));
        let mut key = self.key("workdir", true);
        key.add("path", &shown);
        let key = key.finish();
        self.layer(&[&key], &format!("WORKDIR {shown}"), |run| {
            run.change(false, |target| target.ensure_directory(&inside, (0, 0)))
        })
    }

    /// What `--from` names.
    pub(crate) fn named(&self, from: &str) -> Result<Named, BuildError> {
        let solver = self.solver;
        Ok(match resolve_from(from, &solver.graph.stages[..self.step.stage], solver.request) {
            Source::Directory(path) => Named::Directory(path),
            Source::Scratch => Named::Layers(Vec::new()),
            Source::Stage(number) => Named::Layers(solver.wait(number)?.layers.clone()),
            Source::Image(name) => Named::Layers(solver.image(&name)?.layers),
        })
    }

    /// What `--from` names, or the context.
    pub(crate) fn open_source(&self, from: Option<&str>) -> Result<Opened<'s>, BuildError> {
        let solver: &'s Solver<'s> = self.solver;
        let context = |root: PathBuf, ignore| Opened { tree: Tree { root, ignore, is_image: false }, _view: None };
        let layers = match from.map(|from| self.named(from)).transpose()? {
            None => return Ok(context(solver.request.context.clone(), Some(solver.ignore))),
            Some(Named::Directory(path)) => return Ok(context(path, None)),
            Some(Named::Layers(layers)) => layers,
        };
        let view = solver.workshop()?.view(solver.builder.store(), &layers)?;
        let tree = Tree { root: view.path().to_owned(), ignore: None, is_image: true };
        Ok(Opened { tree, _view: Some(view) })
    }

    pub(crate) fn missing(&self, raw: &Raw, at: std::ops::Range<usize>, source: &str, missing: Missing) -> BuildError {
        let place = raw.places.range(at);
        match missing {
            Missing::Failed(error) => error,
            Missing::NotFound => {
                let wrong = Wrong::new(place, "not-found", format!("there is no `{source}` to copy"));
                let from = raw.flags.iter().find(|flag| flag.name == "from").and_then(|flag| flag.value.as_deref());
                self.mistake(wrong.help(match from {
                    Some(from) => format!("looked for in `{from}`"),
                    None => format!("looked for in the context {}", self.solver.request.context.display()),
                }))
            }
            Missing::Ignored => {
                let wrong = Wrong::new(place, "ignored", format!("`{source}` is left out of the context"));
                self.mistake(wrong.help("look at .dockerignore"))
            }
        }
    }

    pub(crate) fn run_step(&mut self, raw: &Raw) -> Result<bool, BuildError> {
        let mut mounts = Vec::new();
        let mut network = self.solver.request.network;
        for flag in &raw.flags {
            let value = self.expand_flag(flag)?;
            let wrong = |message: String| self.mistake(Wrong::new(flag.bytes.clone(), "run-flag", message));
            match (flag.name.as_str(), value.as_str()) {
                ("mount", value) => {
                    mounts.push(mounts::parse(flag, value).map_err(|wrong| self.mistake(wrong))?);
                }
                ("network", "none") => network = BuildNetwork::None,
                ("network", "host") => network = BuildNetwork::Host,
                ("network", "default") | ("security", "sandbox") => {}
                ("network", other) => {
                    return Err(wrong(format!("there is no network `{other}`: default, none or host")));
                }
                (name, value) => return Err(wrong(format!("--{name}={value} is not supported"))),
            }
        }
        let (argv, script) = self.run_command(raw);
        let key = self.run_key(&argv, script.as_deref(), network, &mounts)?;
        let created_by = format!("RUN {}", argv.join(" "));
        self.layer(&[&key], &created_by, |run| run.execute(raw, argv, script, network, &mounts))
    }

    /// What is executed, and the script for it that a here-document with a `#!` line is.
    fn run_command(&self, raw: &Raw) -> (Vec<String>, Option<String>) {
        let Some(first) = raw.documents.first() else { return (self.command(&raw.rest), None) };
        let shell = |line: String| self.shell().into_iter().chain([line]).collect();
        if document_of(&raw.rest).is_none_or(|_| raw.rest.contains(char::is_whitespace) && raw.documents.len() != 1) {
            // The shell reads its here-documents itself.
            let documents = raw.documents.iter().flat_map(|one| ["\n", &one.content, &one.name]);
            return (shell(std::iter::once(raw.rest.as_str()).chain(documents).collect::<String>() + "\n"), None);
        }
        let text = first.text();
        if text.starts_with("#!") {
            return (vec![SCRIPT.to_owned()], Some(text));
        }
        (shell(text), None)
    }

    fn run_key(
        &self,

        argv: &[String],
        script: Option<&str>,
        network: BuildNetwork,
        mounts: &[RunMount],
    ) -> Result<String, BuildError> {
        let mut key = self.key("run", true);
        argv.iter().for_each(|word| key.add("word", word));
        key.add("script", script.unwrap_or_default());
        self.environment(false).iter().for_each(|(name, value)| key.add(name, value));
        key.add("user", self.state.config.text("User"));
        key.add("directory", self.directory());
        key.add("network", format!("{network:?}"));
        for mount in mounts {
            key.add("mount", &mount.target);
            match &mount.kind {
                Kind::Bind { from, source, writable } => {
                    key.add("bind", format!("{source} {writable}"));
                    let from = from.as_deref();
                    match from.map(|from| self.named(from)).transpose()? {
                        // The layers say it all, and need not be read.
                        Some(Named::Layers(layers)) => {
                            layers.iter().for_each(|layer| key.add("layer", layer.diff_id().as_str()));
                        }
                        Some(Named::Directory(_)) | None => {
                            self.describe_bind(&mut key, mount, source, &self.open_source(from)?.tree)?;
                        }
                    }
                }
                Kind::Cache { id, sharing, .. } => key.add("cache", format!("{id} {sharing:?}")),
                Kind::Tmpfs { size } => key.add("tmpfs", format!("{size:?}")),
                // What is secret must not be told from a key, so it is not in it.
                Kind::Secret { id, env, .. } => key.add("secret", format!("{id} {env:?}")),
                Kind::Ssh { id, .. } => key.add("ssh", id),
            }
        }
        Ok(key.finish())
    }

    fn describe_bind(
        &self,
        key: &mut KeyMaker,

        mount: &RunMount,
        source: &str,
        tree: &Tree<'_>,
    ) -> Result<(), BuildError> {
        let found =
            tree.look(&sources::relative(source)).map_err(|missing| self.missing_bind(mount, source, missing))?;
        let entries = if found.metadata.is_dir() {
            tree.walk(&found, Path::new(""), &[])?
        } else {
            vec![sources::Entry { target: PathBuf::new(), source: found.real, metadata: found.metadata }]
        };
        sources::describe(key, &entries, false, &self.solver.digests)
    }

    fn missing_bind(&self, mount: &RunMount, source: &str, missing: Missing) -> BuildError {
        match missing {
            Missing::Failed(error) => error,
            Missing::NotFound | Missing::Ignored => {
                let message = format!("there is no `{source}` to mount");
                self.mistake(Wrong::new(mount.bytes.clone(), "not-found", message))
            }
        }
    }

    /// Arguments, then ENV over them; proxies only where they are to be used.
    fn environment(&self, with_proxies: bool) -> Vec<(String, String)> {
        let mut variables: BTreeMap<String, String> = BTreeMap::new();
        if with_proxies {
            let given =
                PROXIES.iter().filter_map(|name| Some(((*name).to_owned(), argument(self.solver.request, name)?)));
            variables.extend(given);
        }
        let args = self.state.args.iter().filter(|(name, _)| with_proxies || !PROXIES.contains(&name.as_str()));
        variables.extend(args.map(|(name, value)| (name.clone(), value.clone())));
        let env = self.state.config.env();
        env.iter().for_each(|(name, _)| drop(variables.remove(name)));
        env.into_iter().chain(variables).collect()
    }

    fn execute(
        &mut self,
        raw: &Raw,
        argv: Vec<String>,
        script: Option<String>,
        network: BuildNetwork,
        mounts: &[RunMount],
    ) -> Result<Option<StoredLayer>, BuildError> {
        let request = self.solver.request;
        let mut kept = Kept::default();
        let mut command = Command {
            argv,
            env: self.environment(true),
            cwd: self.directory(),
            user: self.state.config.text("User"),
            network,
            mounts: Vec::new(),
            extra_hosts: request.extra_hosts.clone(),
            shm_size: request.shm_size,
            ulimits: request.ulimits.clone(),
        };
        for (number, mount) in mounts.iter().enumerate() {
            self.prepare(number, mount, &mut command, &mut kept)?;
        }
        if let Some(script) = script {
            let path = self.solver.workshop()?.scratch()?.join("script");
            write_private(&path, script.as_bytes(), Owner { uid: 0, gid: 0, mode: 0o755 })?;
            command.mounts.push(bind(SCRIPT, path, true));
        }
        let builder = self.solver.builder;
        let (tools, workshop) = (builder.tools()?, self.solver.workshop()?);
        let runner = Runner { spawner: &tools.spawner, hierarchy: &tools.hierarchy, workshop };
        let mut last = std::collections::VecDeque::new();
        let layers = run::paths(builder.store(), &self.state.layers);
        let ran = runner.run(&command, layers.clone(), &mut |line| {
            (self.solver.report)(BuildEvent::Output { step: self.step.clone(), line: line.to_owned() });
            if last.len() == LAST_LINES {
                last.pop_front();
            }
            last.push_back(line.to_owned());
        });
        let ran = ran.map_err(|error| self.cannot_run(raw, error))?;
        if ran.exit.code != Some(0) {
            self.open_shell(&runner, command, [layers, vec![ran.upper.clone()]].concat());
        }
        drop(kept);
        let layer = match (ran.exit.code, ran.exit.signal) {
            (Some(0), None) => self.commit(&ran.upper, &self.state.layers, &ran.mount_points),
            (code, signal) => Err(self.failed(raw, code, signal, &last.into_iter().collect::<Vec<_>>())),
        };
        runner.remove(&ran.container)?;
        layer
    }

    /// Lets the user look around where the program of a step has failed.
    fn open_shell(&self, runner: &Runner<'_>, command: Command, layers: Vec<PathBuf>) {
        let builder = self.solver.builder;
        let Some(open) = builder.shell_on_error() else { return };
        let shell = self.shell();
        // It waits, stopped, until it is killed; in front of it stands a process that may be stopped by nobody.
        let argv = shell.iter().cloned().chain(["kill -STOP $$".to_owned()]).collect();
        let program = shell.first().cloned().unwrap_or_default();
        let workshop = runner.workshop;
        let held = runner.hold(&Command { argv, ..command }, layers, &mut |container| {
            open(Ok(&Halted {
                layout: workshop.layout.clone(),
                project: workshop.project.clone(),
                container: container.clone(),
                shell: program.clone(),
            }));
        });
        if let Err(error) = held {
            open(Err(&error));
        }
    }

    fn cannot_run(&self, raw: &Raw, error: BuildError) -> BuildError {
        let BuildError::Runtime(error) = error else { return error };
        let wrong = Wrong::new(raw.bytes.clone(), "run", error.to_string());
        let wrong = Wrong { help: error.hint().filter(|_| error.fault() == Fault::Denied), ..wrong };
        self.failure(wrong, error.fault(), None)
    }

    fn failed(&self, raw: &Raw, code: Option<i32>, signal: Option<i32>, last: &[String]) -> BuildError {
        let how = match (code, signal) {
            (_, Some(signal)) => format!("the command was killed by signal {signal}"),
            (code, None) => format!("the command has ended with code {}", code.unwrap_or(-1)),
        };
        let reason = (!last.is_empty()).then(|| format!("it wrote:\n{}", last.join("\n")));
        self.failure(Wrong::new(raw.bytes.clone(), "run", how), Fault::User, reason)
    }

    /// Makes what a mount shows.
    fn prepare(
        &self,

        number: usize,
        mount: &RunMount,
        command: &mut Command,
        kept: &mut Kept,
    ) -> Result<(), BuildError> {
        let target = |default: String| if mount.target.is_empty() { default } else { mount.target.clone() };
        let target = |default: String| format!("/{}", self.absolute(&target(default)).display());
        match &mount.kind {
            Kind::Bind { from, source, writable } => {
                let path = self.bind_source(mount, from.as_deref(), source, *writable, kept)?;
                command.mounts.push(bind(&target(String::new()), path, !writable));
            }
            Kind::Cache { .. } => {
                let (path, read_only) = self.cache_directory(mount, kept)?;
                command.mounts.push(bind(&target(String::new()), path, read_only));
            }
            Kind::Tmpfs { size } => command.mounts.push(ResolvedMount {
                target: target(String::new()),
                read_only: false,
                source: ResolvedSource::Tmpfs { size: size.map(Bytes), mode: 0o1777 },
            }),
            Kind::Secret { id, required, env, file, owner } => {
                let Some(bytes) = self.secret(id)? else {
                    return self.not_given(*required, mount, "secret", id);
                };
                if let Some(name) = env {
                    command.env.push((name.clone(), String::from_utf8_lossy(&bytes).into_owned()));
                }
                if *file {
                    // The run directory is memory: nothing of it comes onto a disk.
                    let layout = &self.solver.workshop()?.layout;
                    let path = layout.project_run(&self.solver.workshop()?.project);
                    fs::create_dir_all(&path).map_err(BuildError::io("make", &path))?;
                    let path = path.join(format!("secret-{}", self.solver.workshop()?.number()));
                    write_private(&path, &bytes, *owner)?;
                    command.mounts.push(bind(&target(format!("/run/secrets/{id}")), path, true));
                }
            }
            Kind::Ssh { id, required, owner } => {
                let Some(socket) = self.solver.request.ssh.get(id) else {
                    return self.not_given(*required, mount, "ssh agent", id);
                };
                let target = target(format!("/run/buildkit/ssh_agent.{number}"));
                command.env.push(("SSH_AUTH_SOCK".to_owned(), target.clone()));
                let place = self.solver.workshop()?.layout.project_run(&self.solver.workshop()?.project);
                fs::create_dir_all(&place).map_err(BuildError::io("make", &place))?;
                let place = place.join(format!("agent-{}", self.solver.workshop()?.number()));
                let agent =
                    Agent::forward(socket, &place, *owner).map_err(BuildError::io("forward the agent", socket))?;
                command.mounts.push(bind(&target, place, false));
                kept.agents.push(agent);
            }
        }
        Ok(())
    }

    fn not_given(&self, required: bool, mount: &RunMount, what: &str, id: &str) -> Result<(), BuildError> {
        if !required {
            return Ok(());
        }
        let wrong = Wrong::new(mount.bytes.clone(), "not-given", format!("the {what} `{id}` was not given"));
        let help = match what {
            "secret" => "give it with `--secret id=ID,src=FILE`, or under `build.secrets` of the Compose file",
            _ => "give it with `--ssh ID=SOCKET`, or under `build.ssh` of the Compose file",
        };
        Err(self.mistake(wrong.help(help)))
    }

    fn secret(&self, id: &str) -> Result<Option<Vec<u8>>, BuildError> {
        match self.solver.request.secrets.get(id) {
            None => Ok(None),
            Some(SecretSource::Variable(name)) => {
                Ok(self.solver.builder.environment().get(name).map(|value| value.clone().into_bytes()))
            }
            Some(SecretSource::File(path)) => fs::read(path).map(Some).map_err(BuildError::io("read the secret", path)),
        }
    }

    fn bind_source(
        &self,

        mount: &RunMount,
        from: Option<&str>,
        source: &str,
        writable: bool,
        kept: &mut Kept,
    ) -> Result<PathBuf, BuildError> {
        let opened = self.open_source(from)?;
        let found = opened.tree.look(&sources::relative(source));
        let found = found.map_err(|missing| self.missing_bind(mount, source, missing))?;
        let Opened { tree, _view: view } = opened;
        kept.views.extend(view);
        if !found.metadata.is_dir() {
            if !writable {
                return Ok(found.real);
            }
            let copy = self.solver.workshop()?.scratch()?.join("file");
            fs::copy(&found.real, &copy).map_err(BuildError::io("copy", &found.real))?;
            return Ok(copy);
        }
        let mut path = found.real.clone();
        if tree.ignore.is_some() {
            // What is left out of the context is not seen here either.
            path = self.solver.workshop()?.scratch()?;
            let entries = tree.walk(&found, Path::new(""), &[])?;
            copy_all(&path, &entries, false)?;
        }
        if writable {
            let view = self.solver.workshop()?.discarding(&path)?;
            path = view.path().to_owned();
            kept.views.push(view);
        }
        Ok(path)
    }

    /// The directory of a cache, made where it is missing.
    fn cache_directory(&self, mount: &RunMount, kept: &mut Kept) -> Result<(PathBuf, bool), BuildError> {
        let Kind::Cache { id, from, source, sharing, read_only, owner } = &mount.kind else {
            return Err(BuildError::Elsewhere);
        };
        let caches = home(self.solver.builder.layout()).join("caches");
        fs::create_dir_all(&caches).map_err(BuildError::io("make", &caches))?;
        let mut name = KeyMaker::new("cache");
        name.add("id", id);
        let name = name.finish();
        for attempt in 0_u32.. {
            let path = match (sharing, attempt) {
                (Sharing::Private, attempt) if attempt > 0 => caches.join(format!("{name}-{attempt}")),
                _ => caches.join(&name),
            };
            if *sharing == Sharing::Locked {
                kept.locks.push(Lock::wait_for_work(caches.join(format!("{name}.lock")))?);
            }
            if !path.exists() {
                self.fill_cache(mount, &path, from.as_deref(), source, *owner)?;
            }
            if *sharing == Sharing::Private {
                let file = fs::File::open(&path).map_err(BuildError::io("open", &path))?;
                if rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive).is_err() {
                    continue;
                }
                kept.files.push(file);
            }
            return Ok((path, *read_only));
        }
        Err(BuildError::Elsewhere)
    }

    fn fill_cache(
        &self,

        mount: &RunMount,
        path: &Path,
        from: Option<&str>,
        source: &str,
        owner: Owner,
    ) -> Result<(), BuildError> {
        let part = path.with_extension(format!("part{}", self.solver.workshop()?.number()));
        fs::create_dir_all(&part).map_err(BuildError::io("make", &part))?;
        if from.is_some() || !source.is_empty() {
            let opened = self.open_source(from)?;
            let found = opened.tree.look(&sources::relative(source));
            let found = found.map_err(|missing| self.missing_bind(mount, source, missing))?;
            copy_all(&part, &opened.tree.walk(&found, Path::new(""), &[])?, opened.tree.is_image)?;
        }
        let mode = std::os::unix::fs::PermissionsExt::from_mode(owner.mode);
        fs::set_permissions(&part, mode)
            .and_then(|()| std::os::unix::fs::chown(&part, Some(owner.uid), Some(owner.gid)))
            .map_err(BuildError::io("make", &part))?;
        // Another build may have made it meanwhile; then that one is used.
        if fs::rename(&part, path).is_err() {
            drop(fs::remove_dir_all(&part));
        }
        Ok(())
    }
}

/// Where the script of a here-document is seen.
const SCRIPT: &str = "/dev/pipes/script";

fn bind(target: &str, path: PathBuf, read_only: bool) -> ResolvedMount {
    ResolvedMount {
        target: target.to_owned(),
        read_only,
        source: ResolvedSource::Bind { path, create: false, below: Below::Seen },
    }
}

fn write_private(path: &Path, bytes: &[u8], owner: Owner) -> Result<(), BuildError> {
    let write = || -> std::io::Result<()> {
        let mut options = fs::OpenOptions::new();
        let mut file = options.write(true).create_new(true).mode(0o600).open(path)?;
        std::io::Write::write_all(&mut file, bytes)?;
        std::os::unix::fs::chown(path, Some(owner.uid), Some(owner.gid))?;
        file.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(owner.mode))
    };
    write().map_err(BuildError::io("write", path))
}

/// Copies entries into a directory of ours.
fn copy_all(directory: &Path, entries: &[sources::Entry], keep: bool) -> Result<(), BuildError> {
    let flags = rustix::fs::OFlags::PATH | rustix::fs::OFlags::DIRECTORY | rustix::fs::OFlags::CLOEXEC;
    let root = rustix::fs::open(directory, flags, rustix::fs::Mode::empty())
        .map_err(|error| BuildError::io("open", directory)(error.into()))?;
    let mut target = Target::new(root);
    let marks = Marks { keep, ..Marks::default() };
    entries.iter().try_for_each(|entry| target.put(&entry.target, entry, &marks))?;
    target.finish()
}

/// Patterns of `--exclude`.
pub(crate) fn excludes(texts: &[String]) -> Vec<Pattern> {
    texts.iter().map(|text| Pattern::path(&sources::relative(text).to_string_lossy())).collect()
}
