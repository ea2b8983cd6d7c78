//! Asking for a change and waiting for its effect, as `stop`, `start` and `restart` do.

use stack_model::{Desired, Millis, PolicyChange, ProjectName, ServiceName, UpOptions};

use crate::context::Context;
use crate::error::CliError;
use crate::session::{Session, Turn};
use crate::settle::Verdict;

/// Asks the supervisor of the project for a change and waits until it is made.
pub(super) fn change(context: &Context, change: PolicyChange) -> Result<u8, CliError> {
    let project = context.project_name()?;
    context.require_up(&project)?;
    let services = match &change {
        PolicyChange::Stop { services, .. } | PolicyChange::Restart { services, .. } => services.clone(),
        PolicyChange::Start { services }
        | PolicyChange::Pause { services }
        | PolicyChange::Unpause { services }
        | PolicyChange::Release { services }
        | PolicyChange::Remove { services } => services.clone(),
        PolicyChange::Down { .. } => Vec::new(),
    };
    let mut session = begin(context, project, change)?;
    let turn = session.until_settled(|| None)?;
    session.settle_display();
    match turn {
        Turn::Ended => Err(Session::lost()),
        // What was broken before is not the fault of this change.
        Turn::Moved if !session.concerns(&services) => Ok(0),
        Turn::Moved | Turn::TimedOut | Turn::Interrupted => conclude(&session),
    }
}

/// Stops the containers of services and removes them.
pub(super) fn take_away(
    context: &Context,
    services: Vec<ServiceName>,
    timeout: Option<Millis>,
) -> Result<u8, CliError> {
    if services.is_empty() {
        return Ok(0);
    }
    change(context, PolicyChange::Stop { services: services.clone(), timeout })?;
    change(context, PolicyChange::Remove { services })
}

/// Asks for the project as these options have it and waits until it is so.
pub(super) fn up(context: &Context, desired: Desired, options: UpOptions) -> Result<u8, CliError> {
    let name = desired.project.clone();
    let (client, accepted) = context.request(&name, |client| client.up(context.source.clone(), options.clone()))?;
    let mut session = Session::new(context, name.clone(), Some(desired), client, accepted)?;
    let ask = || context.connect_if_running(&name)?.plan(context.source.clone(), None).ok();
    let turn = session.until_settled(ask)?;
    session.settle_display();
    if turn == Turn::Ended { Err(Session::lost()) } else { conclude(&session) }
}

/// Sends the change and follows what comes of it.
pub(super) fn begin(context: &Context, project: ProjectName, change: PolicyChange) -> Result<Session<'_>, CliError> {
    let (client, accepted) = context.request(&project, |client| client.change(change.clone()))?;
    let desired = context.last_desired(&project);
    Session::new(context, project, desired, client, accepted)
}

/// Waits until nothing of a project is left, and leaves the progress on the screen.
pub(super) fn until_down(session: &mut Session<'_>) -> Result<u8, CliError> {
    // A plan may be empty before the supervisor says that nothing is left.
    let code = loop {
        let turn = session.until_settled(|| None)?;
        match (session.verdict(), turn) {
            // A supervisor ends when nothing is left, and the last event may be lost with it.
            (Verdict::Down, _) | (_, Turn::Ended) => break Ok(0),
            (Verdict::Stuck, _) => break conclude(session),
            (Verdict::Settled | Verdict::Pending, _) => {
                if session.idle()? == Turn::Ended {
                    break Ok(0);
                }
            }
        }
    };
    session.settle_display();
    code
}

/// The exit code of a request that has come as far as it can.
pub(super) fn conclude(session: &Session<'_>) -> Result<u8, CliError> {
    match session.verdict() {
        Verdict::Stuck => Err(CliError::Incomplete(session.casualties())),
        Verdict::Settled | Verdict::Down | Verdict::Pending => Ok(0),
    }
}
