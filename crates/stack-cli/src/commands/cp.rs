//! `stack cp`.

use clap::Args;
use stack_model::{Failure, Fault, ObservedContainer, ProjectName};
use stack_runtime::{Side, Transfer, transfer};

use super::targets;
use crate::context::Context;
use crate::error::CliError;
use crate::output;

/// Options of `cp`.
#[derive(Debug, Args)]
pub(crate) struct CpArgs {
    /// Only to this container of the service, or from it
    #[arg(long, value_name = "NUMBER")]
    index: Option<u32>,
    /// Accepted for docker compose: files go to all containers of a service
    #[arg(long, hide = true)]
    all: bool,
    /// Keep the numbers of owners and groups
    #[arg(short, long)]
    archive: bool,
    /// Follow the source if it is a link
    #[arg(short = 'L', long)]
    follow_link: bool,
    /// SERVICE:PATH, or a path of this machine
    source: String,
    /// SERVICE:PATH, or a path of this machine; one of the two is a service's
    target: String,
}

pub(crate) fn run(context: &Context, args: &CpArgs) -> Result<u8, CliError> {
    if [&args.source, &args.target].iter().any(|path| path.as_str() == "-") {
        return Err(CliError::Failed(
            Failure::new(Fault::User, "`-` for an archive on a standard stream is not supported")
                .hint("use `stack exec -T SERVICE tar -c PATH`, or `tar -x`"),
        ));
    }
    let how = Transfer { follow_link: args.follow_link, keep_owner: args.archive };
    match (in_service(&args.source), in_service(&args.target)) {
        (Some((service, path)), None) => {
            let (project, container) = targets::running(context, service, args.index)?;
            let from = side(context, &project, &container)?;
            say(transfer((&from, path), (&Side::Host, &args.target), how))
        }
        (None, Some((service, path))) => {
            let (project, containers) = receivers(context, service, args.index)?;
            for container in &containers {
                let to = side(context, &project, container)?;
                say(transfer((&Side::Host, &args.source), (&to, path), how))?;
            }
            Ok(0)
        }
        (Some(_), Some(_)) => Err(CliError::user("files are copied to or from a service, not between two")),
        (None, None) => Err(CliError::user("neither the source nor the target names a service: write SERVICE:PATH")),
    }
}

/// All running containers of a service, or the one with the number.
fn receivers(
    context: &Context,
    service: &str,
    index: Option<u32>,
) -> Result<(ProjectName, Vec<ObservedContainer>), CliError> {
    let (project, first) = targets::running(context, service, index)?;
    let (_, mut containers) = targets::of_services(context, &[service.to_owned()])?;
    containers.retain(|it| it.is_running() && it.container.one_off.is_none());
    if index.is_some() || containers.is_empty() {
        containers = vec![first];
    }
    Ok((project, containers))
}

fn side(context: &Context, project: &ProjectName, container: &ObservedContainer) -> Result<Side, CliError> {
    Side::of_container(context.machine.layout(), project, &container.container.id)
        .map_err(|error| super::failed(error.fault(), error.hint(), &error))
}

fn say(done: Result<Vec<String>, stack_runtime::TransferError>) -> Result<u8, CliError> {
    let skipped = done.map_err(|error| super::failed(error.fault(), error.hint(), &error))?;
    skipped.iter().for_each(|path| output::note(&format!("left out: {path} is a pipe, socket or device")));
    Ok(0)
}

/// `SERVICE:PATH`; a path with a slash before its first colon is one of this machine.
fn in_service(text: &str) -> Option<(&str, &str)> {
    text.split_once(':')
        .filter(|(service, _)| !service.is_empty() && !service.contains('/') && !service.starts_with('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn services_and_paths_are_told_apart() {
        assert_eq!(in_service("web:/etc/a:b"), Some(("web", "/etc/a:b")));
        for path in ["./a:b", "/a:b", "a/b:c", "plain", ":x"] {
            assert_eq!(in_service(path), None, "{path}");
        }
    }
}
