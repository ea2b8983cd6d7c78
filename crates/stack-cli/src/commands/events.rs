//! `stack events`.

use std::collections::BTreeMap;

use clap::Args;
use jiff::Timestamp;
use rustix::event::{PollFd, PollFlags, poll};
use serde_json::json;
use stack_model::{Container, ContainerId, Event, Exit, Health, Now, ObservedContainer, ProjectName, Stamped};

use super::targets;
use crate::context::Context;
use crate::error::CliError;
use crate::output;

/// Options of `events`.
#[derive(Debug, Args)]
pub(crate) struct EventsArgs {
    /// One JSON value a line
    #[arg(long)]
    json: bool,
    /// Only these; all by default
    services: Vec<String>,
}

/// Shows what happens to containers until the project is down or the command is ended.
pub(crate) fn run(context: &Context, args: &EventsArgs) -> Result<u8, CliError> {
    let project = context.project_name()?;
    let Some(mut client) = context.connect_if_running(&project) else {
        output::note(&format!("project `{project}` is not up"));
        return Ok(0);
    };
    let mut records = Records { context, project, known: BTreeMap::new() };
    records.look()?;
    client.follow(u64::MAX)?;
    loop {
        let arrived = client.take_events()?;
        for stamped in &arrived.events {
            let Some((id, actions, exit)) = happened(stamped) else { continue };
            let Some(container) = records.get(&id)? else { continue };
            let service = container.one_off.as_ref().map_or(&container.service, |one_off| &one_off.of);
            if args.services.is_empty() || args.services.iter().any(|name| name == service.as_str()) {
                for action in actions {
                    output::line(&render(args, stamped.at, container, (&action, exit)))?;
                }
            }
        }
        if arrived.ended {
            return Ok(0);
        }
        match poll(&mut [PollFd::new(&client, PollFlags::IN)], None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(CliError::io("cannot wait", &error.into())),
        }
    }
}

/// The records of containers, also of those that have gone meanwhile.
struct Records<'a> {
    context: &'a Context,
    project: ProjectName,
    known: BTreeMap<ContainerId, Container>,
}

impl Records<'_> {
    fn look(&mut self) -> Result<(), CliError> {
        let observed = targets::look(self.context, &self.project)?;
        let records = observed.into_iter().map(|ObservedContainer { container, .. }| (container.id.clone(), container));
        self.known.extend(records);
        Ok(())
    }

    fn get(&mut self, id: &ContainerId) -> Result<Option<&Container>, CliError> {
        if !self.known.contains_key(id) {
            self.look()?;
        }
        Ok(self.known.get(id))
    }
}

/// What docker calls it; `None` for what is not about a container.
fn happened(stamped: &Stamped) -> Option<(ContainerId, Vec<String>, Option<Exit>)> {
    match &stamped.event {
        Event::Finished { op, .. } => {
            let action = match op.action.split(' ').next()? {
                word @ ("create" | "start" | "pause" | "unpause") => word,
                "stop" | "kill" => "kill",
                "remove" => "destroy",
                "update" | "write" => "update",
                _ => return None,
            };
            Some((op.container.clone()?, vec![action.to_owned()], None))
        }
        Event::Exited { id, exit, .. } => {
            let before = exit.out_of_memory.then(|| "oom".to_owned());
            Some((id.clone(), before.into_iter().chain(["die".to_owned()]).collect(), Some(*exit)))
        }
        Event::Health { id, health, .. } => {
            let verdict = match health {
                Health::None => return None,
                Health::Starting => "starting",
                Health::Healthy => "healthy",
                Health::Unhealthy { .. } => "unhealthy",
            };
            Some((id.clone(), vec![format!("health_status: {verdict}")], None))
        }
        _ => None,
    }
}

fn render(args: &EventsArgs, at: Now, container: &Container, (action, exit): (&str, Option<Exit>)) -> String {
    let time = i64::try_from(at.0).ok().and_then(|millis| Timestamp::from_millisecond(millis).ok()).unwrap_or_default();
    let service = container.one_off.as_ref().map_or(&container.service, |one_off| &one_off.of);
    let mut attributes =
        BTreeMap::from([("image", container.spec.image.to_string()), ("name", container.name.clone())]);
    attributes.extend(exit.map(|exit| ("exitCode", exit.shell_code().to_string())));
    if args.json {
        let (id, time) = (&container.id, time.to_string());
        return json!({
            "time": time, "type": "container", "service": service, "id": id, "action": action, "attributes": attributes,
        })
        .to_string();
    }
    let pairs: Vec<String> = attributes.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let time = time.to_zoned(jiff::tz::TimeZone::system()).strftime("%Y-%m-%d %H:%M:%S%.6f").to_string();
    format!("{time} container {action} {} ({})", container.id, pairs.join(", "))
}
