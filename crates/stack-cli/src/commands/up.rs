//! `stack up`.

use std::collections::BTreeSet;
use std::time::Duration;

use clap::Args;
use stack_model::{Desired, Millis, PolicyChange, ServiceName, UpOptions};

use super::cascade::{self, Cascade};
use super::{follow, plan, provision, recreate};
use crate::casualties::container_label;
use crate::context::Context;
use crate::error::{Casualty, CliError};
use crate::log_view::{From, LogView, Shown};
use crate::output::{self, LineStyle};
use crate::session::{Session, Turn};
use crate::settle::Verdict;

/// The exit code of a command that was interrupted, as shells have it: 128 + SIGINT.
const INTERRUPTED: u8 = 130;

const STOPPING: &str = "stopping (press Ctrl-C again to kill)";

/// Options of `up`.
#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
pub(crate) struct UpArgs {
    /// Return once everything is started, instead of showing logs
    #[arg(short, long)]
    detach: bool,
    /// Return once everything runs and passes its health check
    #[arg(long)]
    wait: bool,
    /// Seconds to wait at most with --wait
    #[arg(long, value_name = "SECONDS", requires = "wait")]
    wait_timeout: Option<u64>,
    /// Number of containers of a service
    #[arg(long, value_name = "SERVICE=NUMBER", value_parser = super::scale_of)]
    scale: Vec<(ServiceName, u32)>,
    #[command(flatten)]
    provision: provision::ProvisionArgs,
    #[command(flatten)]
    recreate: recreate::RecreateArgs,
    #[command(flatten)]
    cascade: cascade::CascadeArgs,
    /// Make the containers of services that are not up yet, and do not start them
    #[arg(long, conflicts_with_all = ["wait", "abort_on_container_exit", "abort_on_container_failure", "exit_code_from"])]
    no_start: bool,
    /// Show the logs of these services only, also where the file says `attach: false`
    #[arg(long, value_name = "SERVICE", conflicts_with_all = ["detach", "attach_dependencies"])]
    attach: Vec<String>,
    /// Do not show the logs of these services
    #[arg(long, value_name = "SERVICE", conflicts_with = "detach")]
    no_attach: Vec<String>,
    /// Show the logs of what the named services depend on too
    #[arg(long, conflicts_with = "detach")]
    attach_dependencies: bool,
    /// Seconds until a container is killed after Ctrl-C, instead of each service's own
    #[arg(short, long, value_name = "SECONDS")]
    timeout: Option<u64>,
    /// Without the names of the containers
    #[arg(long)]
    no_log_prefix: bool,
    /// Show when each line was written
    #[arg(long)]
    timestamps: bool,
    /// Without colours in the logs
    #[arg(long)]
    no_color: bool,
    /// Show what would be done, as `stack plan` does
    #[arg(long, conflicts_with_all = ["detach", "wait"])]
    dry_run: bool,
    /// Accepted for docker compose: containers of removed services always go
    #[arg(long, hide = true)]
    remove_orphans: bool,
    /// Accepted for docker compose: nothing is asked
    #[arg(short = 'y', long = "yes", hide = true)]
    _yes: bool,
    /// Only these and what they depend on; all by default
    services: Vec<String>,
}

impl UpArgs {
    fn options(&self) -> UpOptions {
        UpOptions {
            services: super::services(&self.services),
            scale: self.scale.iter().cloned().collect(),
            no_start: self.no_start,
            rerun: self.cascade.is_any(),
            ..self.recreate.options()
        }
    }

    /// Whose logs are shown: those of the services that are named, unless the file keeps them out.
    fn shown(&self, desired: &Desired) -> Result<Shown, CliError> {
        let (attach, no_attach) = (super::services(&self.attach), super::services(&self.no_attach));
        if let Some(unknown) = attach.iter().chain(&no_attach).find(|name| !desired.services.contains_key(*name)) {
            return Err(super::unknown_service(unknown.as_str()));
        }
        let mut hidden: BTreeSet<ServiceName> = no_attach.into_iter().collect();
        if !attach.is_empty() {
            return Ok(Shown { only: Some(attach.into_iter().collect()), hidden });
        }
        let kept_out = desired.services.iter().filter(|(_, service)| !service.attach).map(|(name, _)| name.clone());
        hidden.extend(kept_out);
        let all = self.services.is_empty() || self.attach_dependencies;
        let only = (!all).then(|| super::services(&self.services).into_iter().collect());
        Ok(Shown { only, hidden })
    }

    fn style(&self) -> LineStyle {
        LineStyle {
            prefix: !self.no_log_prefix,
            colour: !self.no_color && output::has_colour(),
            timestamps: self.timestamps,
        }
    }
}

pub(crate) fn run(context: &Context, args: &UpArgs) -> Result<u8, CliError> {
    if args.dry_run {
        return plan::dry_run(context, args.options());
    }
    let project = context.project_to_run()?;
    let name = project.name().clone();
    let desired = project.lower(&context.machine.layout().instance());
    let mut cascade = args.cascade.cascade(&desired)?;
    let shown = args.shown(&desired)?;
    let named = super::services(&args.services);
    provision::run(context, (&project, &desired), &args.provision, (&named, args.recreate.no_deps()))?;
    let attached = !args.detach && !args.wait && !args.no_start;
    let logs = if attached { Some(existing_logs(context, &desired, args.style(), shown)?) } else { None };
    let (client, accepted) = context.request(&name, |client| client.up(context.source.clone(), args.options()))?;
    let mut session = Session::new(context, name.clone(), Some(desired), client, accepted)?;
    session.set_deadline(args.wait_timeout.map(Duration::from_secs));
    if let Some(logs) = logs {
        session.catch_signals()?;
        session.show_logs(logs);
    }
    let ask = || context.connect_if_running(&name)?.plan(context.source.clone(), None).ok();
    match session.until_settled(ask)? {
        Turn::Interrupted => return stop(&mut session, args, STOPPING),
        Turn::Ended => return Err(Session::lost()),
        Turn::TimedOut => return Err(timed_out(&mut session, args)),
        Turn::Moved => {}
    }
    if attached {
        return stay(session, args, &mut cascade);
    }
    if args.wait && session.verdict() == Verdict::Settled {
        wait(&mut session, args)?;
    }
    session.settle_display();
    if !session.any_step() && session.is_converged() {
        output::note(&format!("project `{name}` is up to date"));
    }
    follow::conclude(&session)
}

/// The logs of containers that run already, from now on. Those of new ones come with the events.
fn existing_logs(context: &Context, desired: &Desired, style: LineStyle, shown: Shown) -> Result<LogView, CliError> {
    let layout = context.machine.layout();
    let mut logs = LogView::new(layout, &desired.project, style, shown.clone())?;
    for (name, service) in desired.services.iter().filter(|(name, _)| shown.has(name)) {
        for index in 1..=service.replicas {
            logs.reserve(&container_label(Some(desired), name, index));
        }
    }
    let records = stack_runtime::observe_containers(layout, &desired.project);
    for (container, _) in records.map_err(|error| super::failed(error.fault(), error.hint(), &error))? {
        let label = container_label(Some(desired), &container.service, container.index);
        logs.add(&container.id, &container.service, &label, From::Now)
            .map_err(|error| CliError::io("cannot read the logs", &error))?;
    }
    Ok(logs)
}

/// Waits until everything that was asked for passes its health check.
fn wait(session: &mut Session<'_>, args: &UpArgs) -> Result<(), CliError> {
    let services: BTreeSet<ServiceName> = super::services(&args.services).into_iter().collect();
    while !session.health(&services)? {
        match session.idle()? {
            Turn::TimedOut => return Err(timed_out(session, args)),
            Turn::Ended => return Err(Session::lost()),
            Turn::Moved | Turn::Interrupted => {}
        }
        if session.verdict() == Verdict::Stuck {
            return Ok(());
        }
    }
    Ok(())
}

fn timed_out(session: &mut Session<'_>, args: &UpArgs) -> CliError {
    session.settle_display();
    let message = format!("not everything is ready after {}s", args.wait_timeout.unwrap_or_default());
    let hint = Some("`stack ps` shows what is; what is under way goes on".to_owned());
    let mut casualties = session.casualties();
    casualties.push(Casualty { message, hint, waiting: session.waiting(), ..Casualty::default() });
    CliError::Incomplete(casualties)
}

/// Shows logs until the user has enough or nothing runs any more.
fn stay(mut session: Session<'_>, args: &UpArgs, cascade: &mut Cascade) -> Result<u8, CliError> {
    session.settle_display();
    let mut reported = BTreeSet::new();
    loop {
        if let Some((name, exit)) = cascade.first(&mut session) {
            let why = format!("{name} has ended ({exit}): stopping everything (press Ctrl-C to kill)");
            let code = stop(&mut session, args, &why)?;
            return if code == INTERRUPTED { Ok(code) } else { cascade.code(&session, exit) };
        }
        if session.verdict() == Verdict::Stuck {
            // The supervisor keeps trying, and so an error comes again and again: it is said once.
            for casualty in session.casualties() {
                if reported.insert((casualty.subject.clone(), casualty.message.clone())) {
                    output::report_casualty(&casualty);
                }
            }
            if !runs(&session)? {
                return Err(CliError::Code(1));
            }
        } else if session.take_lull() && session.is_converged() && !runs(&session)? {
            session.finish_logs()?;
            return Ok(0);
        }
        match session.idle()? {
            Turn::Interrupted => return stop(&mut session, args, STOPPING),
            Turn::Ended => {
                session.finish_logs()?;
                return if session.verdict() == Verdict::Down { Ok(0) } else { Err(Session::lost()) };
            }
            Turn::Moved | Turn::TimedOut => {}
        }
    }
}

fn runs(session: &Session<'_>) -> Result<bool, CliError> {
    Ok(session.observe()?.containers.values().any(stack_model::ObservedContainer::is_running))
}

/// Stops what runs: the first interrupt asks, the second does not, the third leaves.
fn stop(session: &mut Session<'_>, args: &UpArgs, why: &str) -> Result<u8, CliError> {
    let services = super::services(&args.services);
    output::note(why);
    session.set_deadline(None);
    session.change(PolicyChange::Stop { services: services.clone(), timeout: super::timeout(args.timeout) })?;
    let mut code = 0;
    while session.until_settled(|| None)? == Turn::Interrupted {
        if code == INTERRUPTED {
            return Ok(code);
        }
        code = INTERRUPTED;
        output::note("killing");
        session.change(PolicyChange::Stop { services: services.clone(), timeout: Some(Millis(0)) })?;
    }
    session.finish_logs()?;
    session.settle_display();
    Ok(code)
}
