//! `stack build`: a directory, or services of the project.

mod directory;
mod order;
mod progress;
mod project;
mod recall;
mod shell;
mod tree;
mod values;

use std::path::PathBuf;
use std::sync::Arc;

use clap::{Args, ValueEnum};
use stack_build::{BuildError, Builder, Surroundings};
use stack_compose::Phases;
use stack_model::SecretSource;

use crate::arguments;
use crate::context::Context;
use crate::error::CliError;
use crate::output;
use progress::Progress;

pub(crate) use order::{Order, delegate, run_ordered, waves};
pub(crate) use project::surroundings;
pub(crate) use shell::{ShellArgs, run_shell};

/// Options of `build`.
#[derive(Debug, Args)]
pub(crate) struct BuildArgs {
    /// The Dockerfile; by default that of the context
    #[arg(short = 'f', long = "file", value_name = "FILE")]
    dockerfile: Option<PathBuf>,
    /// A name of the image; may be repeated
    #[arg(short, long, value_name = "NAME")]
    tag: Vec<String>,
    /// The stage to build; the last by default
    #[arg(long, value_name = "STAGE")]
    target: Option<String>,
    /// An argument; without a value that of the environment
    #[arg(long, value_name = "NAME[=VALUE]", value_parser = values::optional_pair)]
    build_arg: Vec<(String, Option<String>)>,
    /// A label of the image
    #[arg(long, value_name = "NAME=VALUE", value_parser = values::pair)]
    label: Vec<(String, String)>,
    /// Do every step, whatever was made before
    #[arg(long)]
    no_cache: bool,
    /// A stage of which every step is done, whatever was made before
    #[arg(long, value_name = "STAGE", value_delimiter = ',')]
    no_cache_filter: Vec<String>,
    /// Ask the registry for newer base images
    #[arg(long)]
    pull: bool,
    /// An image of the store whose layers may serve as steps made before
    #[arg(long, value_name = "IMAGE")]
    cache_from: Vec<String>,
    /// Only the platform of this machine can be built
    #[arg(long, value_name = "OS/ARCH")]
    platform: Vec<String>,
    /// A secret: `id=ID,src=FILE` or `id=ID,env=NAME`
    #[arg(long, value_name = "SECRET", value_parser = values::secret)]
    secret: Vec<(String, SecretSource)>,
    /// An ssh agent: `default`, or `ID=SOCKET`
    #[arg(long, value_name = "AGENT")]
    ssh: Vec<String>,
    /// The network of RUN
    #[arg(long, value_enum, default_value_t = Network::Default)]
    network: Network,
    /// A line of /etc/hosts: `NAME:ADDRESS`
    #[arg(long, value_name = "NAME:ADDRESS", value_parser = values::host)]
    add_host: Vec<(String, String)>,
    /// Size of /dev/shm, such as 64m
    #[arg(long, value_name = "SIZE", value_parser = values::size)]
    shm_size: Option<u64>,
    /// A further context: `NAME=DIRECTORY` or `NAME=docker-image://IMAGE`
    #[arg(long, value_name = "NAME=CONTEXT", value_parser = values::pair)]
    build_context: Vec<(String, String)>,
    /// Only the image's id is said, or nothing for services
    #[arg(short, long)]
    quiet: bool,
    /// Open a shell where the program of a step has failed
    #[arg(long)]
    shell_on_error: bool,
    /// Send the images of services to their registries afterwards
    #[arg(long)]
    push: bool,
    /// Also build what the services depend on
    #[arg(long)]
    with_dependencies: bool,
    /// A directory that COPY and ADD read, or services of the project; all services by default
    #[arg(value_name = "DIRECTORY | SERVICE")]
    subjects: Vec<String>,
}

/// The network of RUN.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Network {
    /// One that reaches the outside
    Default,
    /// Loopback only
    None,
    /// The host's own
    Host,
}

/// What is to be built.
enum Subject<'a> {
    Directory(&'a str),
    Services,
}

pub(crate) fn run(context: &Context, args: &BuildArgs) -> Result<u8, CliError> {
    match subject(context, args)? {
        Subject::Directory(directory) => build_directory(context, args, directory),
        Subject::Services => project::run(context, args),
    }
}

/// Options that only a directory has say that it is one, and so does a word that no service can be called. Of a word
/// that is both, the service counts: `./web` is always the directory.
fn subject<'a>(context: &Context, args: &'a BuildArgs) -> Result<Subject<'a>, CliError> {
    let for_directory = args.directory_option();
    match args.subjects.as_slice() {
        [] if for_directory.is_some() => Ok(Subject::Directory(".")),
        [one] if for_directory.is_some() || one.contains(['/', ':']) || [".", "..", "-"].contains(&one.as_str()) => {
            Ok(Subject::Directory(one))
        }
        [one] if context.source.working_dir.join(one).is_dir() => {
            let project = context.read(Phases::default()).project;
            let is_service = project.is_some_and(|project| project.services().contains(one));
            Ok(if is_service { Subject::Services } else { Subject::Directory(one) })
        }
        [] | [_] => Ok(Subject::Services),
        [_, ..] => match for_directory {
            None => Ok(Subject::Services),
            Some(option) => {
                Err(CliError::user(format!("{option} is for one directory; the file says it for services")))
            }
        },
    }
}

fn build_directory(context: &Context, args: &BuildArgs, directory: &str) -> Result<u8, CliError> {
    for (option, is_given) in [("--push", args.push), ("--with-dependencies", args.with_dependencies)] {
        if is_given {
            return Err(CliError::user(format!("{option} is for services of a project, not for a directory")));
        }
    }
    let request = directory::request(context, args, directory)?;
    let surroundings = Surroundings {
        environment: context.source.environment.clone(),
        working_dir: context.source.working_dir.clone(),
    };
    let is_quiet = args.quiet || context.progress == arguments::Progress::Quiet;
    let built = match recall::one(context, &surroundings, &request) {
        Some(recalled) => {
            let progress = Progress::new(context.progress, is_quiet);
            progress.during(|| recalled.show(None, &progress))
        }
        None => {
            // First of all: it wants the process to have one thread.
            let mut builder = start(context, surroundings)?;
            let progress = Arc::new(Progress::new(context.progress, is_quiet));
            if args.shell_on_error {
                shell::open_on_error(&mut builder, &progress);
            }
            progress.during(|| builder.build(&request, &|event| progress.show(None, event))).map_err(failed)?
        }
    };
    if !is_quiet {
        let (steps, cached) = (built.steps, built.cached);
        output::note(&format!("built {}: {steps} steps, {cached} of them made before", built.id));
        built.names.iter().for_each(|name| output::note(&format!("named {name}")));
    }
    if args.quiet {
        output::line(built.id.as_str())?;
    }
    Ok(0)
}

fn start(context: &Context, surroundings: Surroundings) -> Result<Builder, CliError> {
    Builder::start(context.machine.layout().clone(), &program()?, surroundings).map_err(failed)
}

/// The file of this program, which is its own builder, spawner and container.
fn program() -> Result<PathBuf, CliError> {
    std::env::current_exe().map_err(|error| CliError::io("cannot find this program", &error))
}

fn failed(error: BuildError) -> CliError {
    match error {
        BuildError::Dockerfile(mistake) => {
            let stack_build::Mistake { diagnostic, texts, .. } = *mistake;
            CliError::Project { diagnostics: vec![diagnostic], texts }
        }
        error => super::failed(error.fault(), error.hint(), &error),
    }
}

impl BuildArgs {
    /// An option that was given and that a service has in its file instead.
    fn directory_option(&self) -> Option<&'static str> {
        let given = [
            ("--file", self.dockerfile.is_some()),
            ("--tag", !self.tag.is_empty()),
            ("--target", self.target.is_some()),
            ("--label", !self.label.is_empty()),
            ("--no-cache-filter", !self.no_cache_filter.is_empty()),
            ("--cache-from", !self.cache_from.is_empty()),
            ("--platform", !self.platform.is_empty()),
            ("--secret", !self.secret.is_empty()),
            ("--network", self.network != Network::Default),
            ("--add-host", !self.add_host.is_empty()),
            ("--shm-size", self.shm_size.is_some()),
            ("--build-context", !self.build_context.is_empty()),
        ];
        given.into_iter().find(|(_, is_given)| *is_given).map(|(option, _)| option)
    }
}
