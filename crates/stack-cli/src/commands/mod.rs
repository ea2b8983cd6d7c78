//! One file a verb: its options, and what it does with them.

pub(crate) mod attach;
pub(crate) mod build;
mod cascade;
pub(crate) mod config;
pub(crate) mod cp;
pub(crate) mod create;
pub(crate) mod demo;
pub(crate) mod down;
pub(crate) mod events;
pub(crate) mod exec;
pub(crate) mod explain;
mod follow;
pub(crate) mod image;
pub(crate) mod images;
pub(crate) mod kill;
pub(crate) mod load;
pub(crate) mod lock;
pub(crate) mod login;
pub(crate) mod logout;
pub(crate) mod logs;
pub(crate) mod ls;
pub(crate) mod pause;
pub(crate) mod plan;
pub(crate) mod port;
mod program;
mod provision;
pub(crate) mod prune;
pub(crate) mod ps;
pub(crate) mod pull;
pub(crate) mod push;
mod recreate;
pub(crate) mod restart;
pub(crate) mod rm;
pub(crate) mod rmi;
pub(crate) mod run;
pub(crate) mod save;
pub(crate) mod scale;
mod schema;
mod short_syntax;
pub(crate) mod start;
pub(crate) mod stats;
pub(crate) mod stop;
pub(crate) mod system;
pub(crate) mod tag;
mod targets;
pub(crate) mod top;
pub(crate) mod up;
pub(crate) mod update;
mod version;
pub(crate) mod volumes;
pub(crate) mod wait;

use std::collections::BTreeSet;

use clap::ValueEnum;
use stack_cgroup::Hierarchy;
use stack_image::{ImageError, Needed, Store};
use stack_model::{Bytes, Container, DiffId, Exit, Failure, Fault, Millis, ProjectName};

use crate::arguments::Verb;
use crate::context::Context;
use crate::error::CliError;

/// How lists are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Table,
    Json,
}

/// Runs a verb and returns the exit code.
pub(crate) fn run(context: &Context, verb: Verb) -> Result<u8, CliError> {
    match verb {
        Verb::Up(args) => up::run(context, &args),
        Verb::Down(args) => down::run(context, &args),
        Verb::Ps(args) => ps::run(context, &args),
        Verb::Logs(args) => logs::run(context, &args),
        Verb::Exec(args) => exec::run(context, args),
        Verb::Run(args) => run::run(context, &args),
        Verb::Attach(args) => attach::run(context, &args),
        Verb::Create(args) => create::run(context, &args),
        Verb::Cp(args) => cp::run(context, &args),
        Verb::Port(args) => port::run(context, &args),
        Verb::Ls(args) => ls::run(context, &args),
        Verb::Volumes(args) => volumes::run(context, &args),
        Verb::Scale(args) => scale::run(context, &args),
        Verb::Rm(args) => rm::run(context, &args),
        Verb::Events(args) => events::run(context, &args),
        Verb::Top(args) => top::run(context, &args),
        Verb::Stats(args) => stats::run(context, &args),
        Verb::Pause(args) => pause::run(context, &args, true),
        Verb::Unpause(args) => pause::run(context, &args, false),
        Verb::Kill(args) => kill::run(context, &args),
        Verb::Wait(args) => wait::run(context, &args),
        Verb::Stop(args) => stop::run(context, args),
        Verb::Start(args) => start::run(context, args),
        Verb::Restart(args) => restart::run(context, args),
        Verb::Config(args) => config::run(context, &args),
        Verb::Schema => schema::run(),
        Verb::Explain(args) => explain::run(&args),
        Verb::Plan(args) => plan::run(context, args),
        Verb::Pull(args) => pull::run(context, &args),
        Verb::Load(args) => load::run(context, &args),
        Verb::Image(args) => image::run(context, &args),
        Verb::Images(args) => images::run(context, &args),
        Verb::Login(args) => login::run(context, &args),
        Verb::Logout(args) => logout::run(context, &args),
        Verb::Prune(args) => prune::run(context, &args),
        Verb::Push(args) => push::run(context, &args),
        Verb::Rmi(args) => rmi::run(context, &args),
        Verb::Save(args) => save::run(context, &args),
        Verb::System(args) => system::run(context, &args),
        Verb::Tag(args) => tag::run(context, &args),
        Verb::Lock(args) => lock::run(context, &args),
        Verb::Update(args) => update::run(context, &args),
        Verb::Build(args) => build::run(context, &args),
        Verb::BuildOrdered => build::run_ordered(context),
        Verb::BuildShell(args) => build::run_shell(context, &args),
        Verb::Version => version::run(),
        Verb::Demo(args) => Ok(demo::run(args)),
    }
}

/// An error of another crate, with all its causes.
fn failed(fault: Fault, hint: Option<String>, error: &(dyn std::error::Error + 'static)) -> CliError {
    CliError::Failed(Failure { hint, ..Failure::from_error(fault, error) })
}

/// The exit code of a command whose program has ended like this.
fn exit_code(exit: Exit) -> u8 {
    u8::try_from(exit.shell_code()).unwrap_or(255)
}

/// `-t SECONDS`.
fn timeout(seconds: Option<u64>) -> Option<Millis> {
    seconds.map(|seconds| Millis(seconds.saturating_mul(1000)))
}

/// Names of services as they were typed.
fn services(names: &[String]) -> Vec<stack_model::ServiceName> {
    names.iter().map(|name| stack_model::ServiceName::new(name.as_str())).collect()
}

/// `--scale SERVICE=NUMBER`.
fn scale_of(text: &str) -> Result<(stack_model::ServiceName, u32), String> {
    let (service, number) = text.split_once('=').ok_or("expected SERVICE=NUMBER")?;
    Ok((stack_model::ServiceName::new(service), number.parse().map_err(|_| format!("`{number}` is not a number"))?))
}

fn image_failed(error: ImageError) -> CliError {
    failed(error.fault(), error.hint(), &error)
}

/// The cgroups of this machine.
fn hierarchy() -> Result<Hierarchy, CliError> {
    Hierarchy::detect().map_err(|error| failed(error.fault(), error.hint(), &error))
}

/// A service was named that the project does not have.
fn unknown_service(name: &str) -> CliError {
    let failure = Failure::new(Fault::User, format!("no such service: {name}"));
    failure.hint("`stack config --services` lists them").into()
}

/// The images of this installation.
fn store(context: &Context) -> Result<Store, CliError> {
    Store::open(context.machine.layout()).map_err(image_failed)
}

/// An event loop for requests to registries.
fn runtime() -> Result<tokio::runtime::Runtime, CliError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|error| CliError::io("cannot start the event loop", &error))
}

/// The containers of all projects.
fn containers(context: &Context) -> Result<Vec<Container>, CliError> {
    let layout = context.machine.layout();
    let mut containers = Vec::new();
    for entry in fs_err::read_dir(layout.projects()).into_iter().flatten().flatten() {
        let project = ProjectName::new(entry.file_name().to_string_lossy());
        let found = stack_runtime::observe_containers(layout, &project);
        let found = found.map_err(|error| failed(error.fault(), error.hint(), &error))?;
        containers.extend(found.into_iter().map(|(container, _)| container));
    }
    Ok(containers)
}

/// What must stay in the store besides images with names: layers of containers, and of cached steps of builds.
fn needed(context: &Context) -> Result<Needed, CliError> {
    let layers = stack_build::cached_layers(context.machine.layout());
    let layers = layers.map_err(|error| failed(error.fault(), error.hint(), &error))?;
    let diff_ids = containers(context)?.into_iter().flat_map(|container| layers_of(&container)).collect();
    Ok(Needed { layers, diff_ids })
}

/// Ids of the images that containers were made from.
fn used_images(context: &Context) -> Result<BTreeSet<String>, CliError> {
    let containers = containers(context)?;
    Ok(containers.iter().flat_map(|it| it.images()).map(|(image, _)| image.as_str().to_owned()).collect())
}

fn layers_of(container: &Container) -> Vec<DiffId> {
    container.images().flat_map(|(_, layers)| layers.iter().cloned()).collect()
}

/// In the unit that fits, as in `12.3 MB`.
fn shown_size(size: Bytes) -> String {
    const UNITS: [&str; 4] = ["kB", "MB", "GB", "TB"];
    let (mut value, mut unit) = (size.0 as f64, "B");
    for larger in UNITS {
        if value < 1000.0 {
            break;
        }
        (value, unit) = (value / 1000.0, larger);
    }
    if unit == "B" { format!("{value} B") } else { format!("{value:.1} {unit}") }
}
