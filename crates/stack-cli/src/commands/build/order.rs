//! Several builds, carried out here or by a process of their own.
//!
//! A builder needs a process with one thread and takes a mount namespace for it, in which no supervisor may be started.
//! `up` therefore leaves builds to a child, which runs this same program.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::num::NonZeroUsize;
use std::process::{Command, Stdio};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use stack_build::{BuildError, Builder, Surroundings};
use stack_model::{Build, Desired, Failure, Fault, ImageId, ImageReference, ServiceName};

use super::progress::Progress;
use crate::arguments;
use crate::context::Context;
use crate::error::CliError;
use crate::output;

/// Builds of services.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Order {
    pub(crate) surroundings: Surroundings,
    /// One after another; those of one wave side by side.
    pub(crate) waves: Vec<BTreeMap<ServiceName, Build>>,
    /// Only failures are shown.
    pub(crate) quiet: bool,
    /// Open a shell where the program of a step has failed.
    pub(crate) shell_on_error: bool,
}

/// The builds of these services.
pub(crate) fn waves(desired: &Desired, waves: &[BTreeSet<ServiceName>]) -> Vec<BTreeMap<ServiceName, Build>> {
    let build = |name: &ServiceName| Some((name.clone(), (**desired.services.get(name)?.build.as_ref()?).clone()));
    waves.iter().map(|wave| wave.iter().filter_map(build).collect()).collect()
}

/// Builds in this process, which must have one thread. Every failure is shown; a failed wave is the last.
pub(super) fn execute(context: &Context, order: &Order) -> Result<(), CliError> {
    let mut builder = super::start(context, order.surroundings.clone())?;
    let progress = Arc::new(Progress::new(context.progress, order.quiet));
    if order.shell_on_error {
        super::shell::open_on_error(&mut builder, &progress);
    }
    let parallel = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    for wave in &order.waves {
        let builds: Vec<(&ServiceName, &Build)> = wave.iter().collect();
        for some in builds.chunks(parallel) {
            side_by_side(context, &builder, some, &progress, order)?;
        }
    }
    Ok(())
}

fn side_by_side(
    context: &Context,
    builder: &Builder,
    builds: &[(&ServiceName, &Build)],
    progress: &Progress,
    order: &Order,
) -> Result<(), CliError> {
    let before: Vec<Option<ImageId>> = builds.iter().map(|(_, build)| id_of(context, build)).collect();
    let together = || -> Vec<_> {
        std::thread::scope(|scope| {
            let mut threads = Vec::new();
            for (service, build) in builds.iter().copied() {
                let report = move |event| progress.show(Some(service.as_str()), event);
                threads.push(scope.spawn(move || builder.build(build, &report)));
            }
            threads.into_iter().map(|thread| thread.join().unwrap_or(Err(BuildError::Elsewhere))).collect()
        })
    };
    let results = progress.during(together);
    let mut is_whole = true;
    for (((service, build), before), result) in builds.iter().zip(before).zip(results) {
        let image = build.tags.first().map(String::as_str).unwrap_or_default();
        match result {
            Ok(built) if !order.quiet => {
                let state = if before.as_ref() == Some(&built.id) { "is up to date" } else { "built" };
                output::note(&format!("image {image} {state}"));
            }
            Ok(_) => {}
            Err(error) => {
                is_whole = false;
                let ran = matches!(&error, BuildError::Dockerfile(mistake) if mistake.diagnostic.code == "run");
                output::report_error(&super::failed(error));
                output::note(&format!("image {image} of service {service} was not built"));
                if ran && !order.shell_on_error {
                    output::note(&format!("`stack build --shell-on-error {service}` opens a shell where it failed"));
                }
            }
        }
    }
    if is_whole { Ok(()) } else { Err(CliError::Code(1)) }
}

fn id_of(context: &Context, build: &Build) -> Option<ImageId> {
    let store = crate::commands::store(context).ok()?;
    let image = ImageReference::new(build.tags.first()?.as_str());
    Some(store.find(&image).ok()??.id)
}

/// Builds in a process of its own. It shows what it does and what is wrong; a failure has been said already.
pub(crate) fn delegate(context: &Context, order: &Order) -> Result<(), CliError> {
    let program = std::env::current_exe().map_err(|error| CliError::io("cannot find this program", &error))?;
    let failed = |error: std::io::Error| CliError::io("cannot run the build", &error);
    let layout = context.machine.layout();
    #[expect(clippy::disallowed_methods, reason = "it runs this very executable as the builder")]
    let mut command = Command::new(program);
    command.arg("--root").arg(&layout.root).arg("--run-dir").arg(&layout.run);
    command.args(["--progress", progress_word(context.progress), "build-ordered"]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().map_err(failed)?;
    let text = serde_json::to_vec(order).expect("an order is made of texts and numbers");
    // A child that does not read has died, and its exit code says it better.
    let sent = child.stdin.take().map(|mut input| input.write_all(&text));
    drop(sent);
    let status = child.wait().map_err(failed)?;
    match status.code() {
        Some(0) => Ok(()),
        Some(_) => Err(CliError::Code(1)),
        None => {
            let failure =
                Failure::new(Fault::Transient, format!("the builder was killed ({status}); nothing has changed"));
            Err(failure.hint("run it again: steps that were done are kept").into())
        }
    }
}

fn progress_word(progress: arguments::Progress) -> &'static str {
    match progress {
        arguments::Progress::Auto => "auto",
        arguments::Progress::Tty => "tty",
        arguments::Progress::Plain => "plain",
        arguments::Progress::Json => "json",
        arguments::Progress::Quiet => "quiet",
    }
}

/// The child: builds what standard input says.
pub(crate) fn run_ordered(context: &Context) -> Result<u8, CliError> {
    let order: Order = serde_json::from_reader(std::io::stdin().lock())
        .map_err(|error| CliError::user(format!("the order of builds cannot be read: {error}")))?;
    execute(context, &order).map(|()| 0)
}
