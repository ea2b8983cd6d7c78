//! Builds of services of the project.

use std::collections::BTreeMap;

use stack_build::Surroundings;
use stack_compose::Project;
use stack_model::{Build, Desired, Failure, Fault, ImageReference, ServiceName};

use super::order::{self, Order};
use super::{BuildArgs, directory, recall};
use crate::arguments::Progress;
use crate::context::Context;
use crate::error::CliError;
use crate::output;

pub(super) fn run(context: &Context, args: &BuildArgs) -> Result<u8, CliError> {
    if let Some(option) = args.directory_option() {
        return Err(CliError::user(format!("{option} is for a directory; the file says it for services")));
    }
    let project = context.project_to_run()?;
    let desired = project.lower(&context.machine.layout().instance());
    let services = chosen(&desired, &args.subjects)?;
    let waves = stack_plan::build_waves(&desired, &services, args.with_dependencies);
    if waves.is_empty() {
        output::note("nothing to build: no service has a `build` section");
        return Ok(0);
    }
    let mut order = Order {
        surroundings: surroundings(context, &project),
        waves: order::waves(&desired, &waves),
        quiet: args.quiet || context.progress == Progress::Quiet,
        shell_on_error: args.shell_on_error,
    };
    let agents = directory::agents(context, args)?;
    for build in order.waves.iter_mut().flat_map(BTreeMap::values_mut) {
        build.no_cache |= args.no_cache;
        build.pull |= args.pull;
        build.args.extend(args.build_arg.iter().cloned());
        build.ssh.extend(agents.clone());
    }
    if !recall::execute(context, &order) {
        order::execute(context, &order)?;
    }
    if args.push {
        push(context, desired.project.as_str(), &order)?;
    }
    Ok(0)
}

/// The services that were named, or all.
fn chosen(desired: &Desired, names: &[String]) -> Result<Vec<ServiceName>, CliError> {
    if names.is_empty() {
        return Ok(desired.services.keys().cloned().collect());
    }
    for name in names {
        match desired.services.get(name.as_str()) {
            Some(service) if service.build.is_some() => {}
            Some(service) => {
                let place = service.origin_of("image");
                let message = format!("the image of service {name} is not built ({place}): it has no `build` section");
                return Err(Failure::new(Fault::User, message).hint("`stack pull` fetches it").into());
            }
            None => {
                let failure = Failure::new(Fault::User, format!("no such service or directory: {name}"));
                return Err(failure.hint("`stack config --services` lists the services").into());
            }
        }
    }
    Ok(crate::commands::services(names))
}

/// What builds of a project take from the command: its variables include those of `.env`.
pub(crate) fn surroundings(context: &Context, project: &Project) -> Surroundings {
    Surroundings { environment: project.environment(), working_dir: context.source.working_dir.clone() }
}

/// Sends the images that the file names; those that it does not name belong to no registry.
fn push(context: &Context, project: &str, order: &Order) -> Result<(), CliError> {
    let store = crate::commands::store(context)?;
    let runtime = crate::commands::runtime()?;
    for (service, Build { tags, .. }) in order.waves.iter().flatten() {
        let given = format!("{project}-{service}").to_lowercase();
        for tag in tags.iter().filter(|tag| **tag != given) {
            let image = ImageReference::new(tag.as_str());
            runtime.block_on(store.push(&image, &|_| {})).map_err(crate::commands::image_failed)?;
            if !order.quiet {
                output::note(&format!("image {image} pushed"));
            }
        }
    }
    Ok(())
}
