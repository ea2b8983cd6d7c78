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
use stack_build::{BuildError, Builder, Built, Surroundings};
use stack_model::{Build, Desired, Failure, Fault, ImageId, ImageReference, NamedContext, ServiceName};

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
    after_bases(waves.iter().flatten().filter_map(build).collect())
}

/// In waves, each build after those whose images it begins with or takes as contexts. Only the Dockerfile says what it
/// begins with; such an image then comes from the build beside it, and from no registry.
fn after_bases(mut open: BTreeMap<ServiceName, Build>) -> Vec<BTreeMap<ServiceName, Build>> {
    let makers: BTreeMap<String, ServiceName> = open
        .iter()
        .flat_map(|(name, build)| build.tags.iter().filter_map(|tag| Some((full(tag)?, name.clone()))))
        .collect();
    let mut needs: BTreeMap<ServiceName, BTreeSet<ServiceName>> = BTreeMap::new();
    for (name, build) in &mut open {
        let maker = |image: &str| makers.get(&full(image)?).filter(|maker| *maker != name).cloned();
        for base in stack_build::bases(build) {
            if maker(&base).is_some() {
                build.contexts.entry(base.clone()).or_insert(NamedContext::Built(base));
            }
        }
        let built = build.contexts.values().filter_map(|context| match context {
            NamedContext::Built(image) => maker(image),
            NamedContext::Directory(_) | NamedContext::Image(_) => None,
        });
        needs.insert(name.clone(), built.collect());
    }
    let mut waves = Vec::new();
    while !open.is_empty() {
        let is_ready = |name: &ServiceName| needs[name].iter().all(|other| !open.contains_key(other));
        let mut ready: BTreeSet<ServiceName> = open.keys().filter(|name| is_ready(name)).cloned().collect();
        if ready.is_empty() {
            // They go round in a circle: the first build says which image it lacks.
            ready = open.keys().cloned().collect();
        }
        waves.push(ready.into_iter().filter_map(|name| open.remove_entry(&name)).collect());
    }
    waves
}

/// A name with every default filled in.
fn full(image: &str) -> Option<String> {
    stack_image::Reference::parse(image).ok().map(|reference| reference.to_string())
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
        let image = image_of(build);
        match result {
            Ok(built) => tell_built(order, build, before.as_ref(), &built),
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

fn image_of(build: &Build) -> &str {
    build.tags.first().map(String::as_str).unwrap_or_default()
}

pub(super) fn tell_built(order: &Order, build: &Build, before: Option<&ImageId>, built: &Built) {
    if !order.quiet {
        let state = if before == Some(&built.id) { "is up to date" } else { "built" };
        output::note(&format!("image {} {state}", image_of(build)));
    }
}

pub(super) fn id_of(context: &Context, build: &Build) -> Option<ImageId> {
    let store = crate::commands::store(context).ok()?;
    let image = ImageReference::new(build.tags.first()?.as_str());
    Some(store.find(&image).ok()??.id)
}

/// Builds in a process of its own. It shows what it does and what is wrong; a failure has been said already.
pub(crate) fn delegate(context: &Context, order: &Order) -> Result<(), CliError> {
    if super::recall::execute(context, order) {
        return Ok(());
    }
    let program = super::program()?;
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

#[cfg(test)]
mod tests {
    use stack_model::Dockerfile;

    use super::*;

    #[test]
    fn a_build_comes_after_the_one_whose_image_it_begins_with() {
        let build = |tag: &str, text: &str| Build {
            context: "/".into(),
            dockerfile: Dockerfile::Inline(text.to_owned()),
            tags: vec![tag.to_owned()],
            ..Build::default()
        };
        let builds = [
            ("a", build("shop/app:1", "ARG V=latest\nFROM shop/base:$V AS x\nFROM other/y\nCOPY --from=x /a /a\n")),
            ("b", build("shop/base", "FROM shop/lowest:2\n")),
            ("c", build("docker.io/shop/lowest:2", "FROM shop/lowest:2\n")),
            ("d", build("alone", "FROM\n")),
        ];
        let waves = after_bases(builds.map(|(name, build)| (ServiceName::new(name), build)).into());
        let names: Vec<String> =
            waves.iter().map(|wave| wave.keys().map(|name| name.as_str()).collect::<Vec<_>>().join(" ")).collect();
        assert_eq!(names, ["c d", "b", "a"]);
        let contexts = &waves[2][&ServiceName::new("a")].contexts;
        assert_eq!(
            *contexts,
            [("shop/base:latest".to_owned(), NamedContext::Built("shop/base:latest".to_owned()))].into()
        );
        // What builds its own name anew begins with what is there.
        assert!(waves[0][&ServiceName::new("c")].contexts.is_empty());
    }
}
