//! `stack wait`.

use std::collections::{BTreeSet, VecDeque};

use clap::Args;
use rustix::event::{PollFd, PollFlags, poll};
use stack_model::{ContainerId, Event, Exit, Failure, Fault, ObservedContainer, PolicyChange, ProjectName, State};

use super::{follow, targets};
use crate::client::Client;
use crate::context::Context;
use crate::error::CliError;
use crate::output;
use crate::session::Session;

/// Options of `wait`.
#[derive(Debug, Args)]
pub(crate) struct WaitArgs {
    /// Take the project down when the first of them has ended
    #[arg(long)]
    down_project: bool,
    /// The services
    #[arg(required = true)]
    services: Vec<String>,
}

/// Ends with the exit code of the container that ended last.
pub(crate) fn run(context: &Context, args: &WaitArgs) -> Result<u8, CliError> {
    let project = context.project_name()?;
    // Before the look, so that what ends in between is heard of.
    let mut exits = Exits::follow(context, &project)?;
    let (_, containers) = targets::of_services(context, &args.services)?;
    if containers.is_empty() {
        let failure = Failure::new(Fault::Missing, format!("no containers for project `{project}`"));
        return Err(failure.hint("`stack ps -a` shows what there is").into());
    }
    let (mut code, mut waiting) = (0, BTreeSet::new());
    for ObservedContainer { container, state, .. } in &containers {
        match state {
            State::Exited { exit, .. } => code = tell(&container.id, *exit)?,
            State::Creating | State::Created | State::Running { .. } | State::Removing => {
                waiting.insert(container.id.clone());
            }
        }
    }
    let is_enough =
        |left: &BTreeSet<ContainerId>| left.is_empty() || args.down_project && left.len() < containers.len();
    while !is_enough(&waiting) {
        let (id, exit) = exits.next(|id| waiting.contains(id))?;
        waiting.remove(&id);
        code = tell(&id, exit)?;
    }
    if args.down_project {
        let mut session = follow::begin(context, project, PolicyChange::Down { volumes: false, timeout: None })?;
        follow::until_down(&mut session)?;
    }
    Ok(code)
}

fn tell(id: &ContainerId, exit: Exit) -> Result<u8, CliError> {
    let code = exit.shell_code();
    output::line(&format!("container \"{id}\" exited with status code {code}"))?;
    Ok(u8::try_from(code).unwrap_or(255))
}

/// Containers' ends, as the supervisor tells them.
pub(super) struct Exits {
    client: Client,
    heard: VecDeque<(ContainerId, Exit)>,
}

impl Exits {
    /// Ends from now on.
    pub(super) fn follow(context: &Context, project: &ProjectName) -> Result<Self, CliError> {
        Self::follow_after(context, project, u64::MAX)
    }

    /// Ends after an event.
    pub(super) fn follow_after(context: &Context, project: &ProjectName, sequence: u64) -> Result<Self, CliError> {
        let client = Context::persist(|| {
            context.require_up(project)?;
            let mut client = context.connect(project)?;
            // Answered, the connection is ahead of any that is made later: what those see, this one follows.
            let answered = client.status().map(drop).and_then(|()| client.follow(sequence));
            Ok(answered.map(|()| client))
        })?;
        Ok(Self { client, heard: VecDeque::new() })
    }

    /// Waits for the end of one of those that are `wanted`.
    pub(super) fn next(&mut self, wanted: impl Fn(&ContainerId) -> bool) -> Result<(ContainerId, Exit), CliError> {
        loop {
            let arrived = self.client.take_events()?;
            self.heard.extend(arrived.events.into_iter().filter_map(|stamped| match stamped.event {
                Event::Exited { id, exit, .. } => Some((id, exit)),
                _ => None,
            }));
            while let Some((id, exit)) = self.heard.pop_front() {
                if wanted(&id) {
                    return Ok((id, exit));
                }
            }
            if arrived.ended {
                return Err(Session::lost());
            }
            match poll(&mut [PollFd::new(&self.client, PollFlags::IN)], None) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(CliError::io("cannot wait", &error.into())),
            }
        }
    }
}
