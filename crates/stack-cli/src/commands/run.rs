//! `stack run`.

use std::time::{SystemTime, UNIX_EPOCH};

use clap::Args;
use stack_model::{
    Container, ContainerSpec, Errand, Failure, Fault, NetworkMode, NotExecuted, OneOff, PolicyChange, Power,
    ProjectName, RestartPolicy, Service, ServiceName, UpOptions, short_hex,
};
use stack_runtime::{AttachOptions, Attachment, End};

use super::wait::Exits;
use super::{follow, program, provision, short_syntax};
use crate::context::Context;
use crate::error::CliError;
use crate::output;
use crate::session::{Session, Turn};
use crate::settle::Verdict;

/// Exit code of a command that was interrupted, as shells have it: 128 + SIGINT.
const INTERRUPTED: u8 = 130;
/// Ctrl-P, Ctrl-Q: docker's keys that leave a container running.
const DETACH_KEYS: [u8; 2] = [16, 17];
/// Digits that tell the containers of a service that run once apart.
const NAME_DIGITS: usize = 12;

/// Options of `run`.
#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
pub(crate) struct RunArgs {
    /// Leave it running and print its identifier
    #[arg(short, long)]
    detach: bool,
    /// Remove the container when it has ended
    #[arg(long)]
    rm: bool,
    /// With this label; may be repeated
    #[arg(short, long, value_name = "NAME=VALUE")]
    label: Vec<String>,
    #[command(flatten)]
    program: program::ProgramArgs,
    #[command(flatten)]
    provision: provision::ProvisionArgs,
    /// A name for the container
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Another program instead of the service's or the image's
    #[arg(long, value_name = "COMMAND")]
    entrypoint: Option<String>,
    /// With this capability; may be repeated
    #[arg(long, value_name = "NAME")]
    cap_add: Vec<String>,
    /// Without this capability; may be repeated
    #[arg(long, value_name = "NAME")]
    cap_drop: Vec<String>,
    /// Do not start what the service depends on
    #[arg(long)]
    no_deps: bool,
    /// Mount this too; may be repeated
    #[arg(short, long, value_name = "SOURCE:TARGET")]
    volume: Vec<String>,
    /// Publish this port; may be repeated
    #[arg(short, long, value_name = "HOST:CONTAINER")]
    publish: Vec<String>,
    /// Publish the service's own ports
    #[arg(short = 'P', long)]
    service_ports: bool,
    /// With the service's names on its networks
    #[arg(long)]
    use_aliases: bool,
    /// Accepted for docker compose: containers of removed services always go
    #[arg(long, hide = true)]
    remove_orphans: bool,
    /// The service
    service: String,
    /// Program and arguments instead of the service's
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<String>,
}

pub(crate) fn run(context: &Context, args: &RunArgs) -> Result<u8, CliError> {
    let file = context.project_to_run()?;
    let desired = file.lower(&context.machine.layout().instance());
    let project = desired.project.clone();
    let like = ServiceName::new(args.service.as_str());
    let Some(service) = desired.services.get(&like) else {
        let names: Vec<&str> = desired.services.keys().map(ServiceName::as_str).collect();
        let failure = Failure::new(Fault::Missing, format!("there is no service `{like}`"));
        return Err(failure.hint(format!("the project has: {}", names.join(", "))).into());
    };
    provision::run(context, (&file, &desired), &args.provision, (std::slice::from_ref(&like), args.no_deps))?;
    let tty = args.program.has_terminal();
    let errand = errand(context, args, (&project, &like, service), tty)?;
    let name = errand.name.clone();
    let dependencies = errand.service.depends_on.keys().cloned().collect();
    let options = UpOptions { services: dependencies, errand: Some(Box::new(errand)), ..UpOptions::default() };
    let (client, accepted) = context.request(&project, |client| client.up(context.source.clone(), options.clone()))?;
    let mut exits = Exits::follow_after(context, &project, accepted.sequence)?;
    let mut session = Session::new(context, project.clone(), Some(desired), client, accepted)?;
    let run = Run { context, project: &project, name: &name, tty };
    run.start(&mut session)?;
    session.settle_display();
    drop(session);
    run.follow(args, &mut exits)
}

/// The service as it is to be run once.
fn errand(
    context: &Context,
    args: &RunArgs,
    (project, like, service): (&ProjectName, &ServiceName, &Service),
    tty: bool,
) -> Result<Errand, CliError> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos().to_string();
    let digits = short_hex(&[&now, &std::process::id().to_string()], NAME_DIGITS);
    let name = ServiceName::new(format!("{like}-run-{digits}"));
    let mut service = service.clone();
    bend(context, args, &mut service.container, tty)?;
    service.container.container_name = Some(args.name.clone().unwrap_or_else(|| format!("{project}-{name}")));
    if args.no_deps {
        service.depends_on.clear();
    }
    (service.replicas, service.power, service.restart_request) = (1, Power::Once, 0);
    let client = (!args.detach).then(stack_runtime::this_client);
    // Who waits for it takes it away: until then its log is there to be shown.
    service.one_off = Some(OneOff { of: like.clone(), remove: args.rm && args.detach, client });
    Ok(Errand { name, service })
}

/// What the command line says over what the file says.
fn bend(context: &Context, args: &RunArgs, spec: &mut ContainerSpec, tty: bool) -> Result<(), CliError> {
    if let Some(entrypoint) = &args.entrypoint {
        spec.entrypoint = Some(short_syntax::words(context, entrypoint)?);
        spec.command = None;
    }
    if !args.command.is_empty() {
        spec.command = Some(args.command.clone());
    }
    spec.environment.extend(args.program.variables(context).map(|(name, value)| (name, Some(value))));
    let labels = args.label.iter().map(|text| text.split_once('=').unwrap_or((text, "")));
    spec.labels.extend(labels.map(|(name, value)| (name.to_owned(), value.to_owned())));
    spec.user = args.program.user.clone().or_else(|| spec.user.take());
    spec.working_dir = args.program.workdir.clone().or_else(|| spec.working_dir.take());
    spec.cap_add.extend(args.cap_add.iter().map(|name| capability(name)));
    spec.cap_drop.extend(args.cap_drop.iter().map(|name| capability(name)));
    let extra = short_syntax::mounts_and_ports(context, &args.volume, &args.publish)?;
    spec.mounts.retain(|mount| extra.mounts.iter().all(|other| other.target != mount.target));
    spec.mounts.extend(extra.mounts);
    if !args.service_ports {
        spec.ports.clear();
    }
    spec.ports.extend(extra.ports);
    if let (NetworkMode::Attached(networks), false) = (&mut spec.network, args.use_aliases) {
        for attachment in networks.values_mut() {
            attachment.aliases.clear();
            // The service's own container has it.
            attachment.ipv4 = None;
        }
    }
    (spec.tty, spec.stdin_open, spec.restart) = (tty, !args.detach, RestartPolicy::No);
    Ok(())
}

fn capability(name: &str) -> String {
    let name = name.to_ascii_uppercase();
    name.strip_prefix("CAP_").unwrap_or(&name).to_owned()
}

/// One that has been asked for.
struct Run<'a> {
    context: &'a Context,
    project: &'a ProjectName,
    name: &'a ServiceName,
    tty: bool,
}

impl Run<'_> {
    /// Waits until it has been started. What cannot be started is taken back.
    fn start(&self, session: &mut Session<'_>) -> Result<(), CliError> {
        session.catch_signals()?;
        let turn = session.until_settled(|| None)?;
        let code = match (turn, session.verdict()) {
            (Turn::Ended, _) => return Err(Session::lost()),
            (Turn::Interrupted, _) => INTERRUPTED,
            // What its dependencies say about themselves is in their own logs.
            (_, Verdict::Stuck) if session.concerns(std::slice::from_ref(self.name)) => {
                session.settle_display();
                session.casualties().iter().for_each(output::report_casualty);
                session.not_executed().map_or(1, |why| if why == NotExecuted::Missing { 127 } else { 126 })
            }
            (_, _) => return Ok(()),
        };
        session.settle_display();
        self.take_back()?;
        Err(CliError::Code(code))
    }

    fn take_back(&self) -> Result<(), CliError> {
        let services = vec![self.name.clone()];
        let remove = PolicyChange::Remove { services };
        let (project, context) = (self.project.clone(), self.context);
        let mut session = follow::begin(context, project, remove)?;
        session.until_settled(|| None).map(drop)
    }

    /// Follows it to its end, or leaves it.
    fn follow(&self, args: &RunArgs, exits: &mut Exits) -> Result<u8, CliError> {
        let records = stack_runtime::observe_containers(self.context.machine.layout(), self.project);
        let records = records.map_err(|error| super::failed(error.fault(), error.hint(), &error))?;
        let container = records.into_iter().map(|(container, _)| container).find(|it| it.service == *self.name);
        let Some(container) = container else {
            // It has ended and gone already, as was asked for.
            return output::line(&format!("{}-{}", self.project, self.name)).map(|()| 0);
        };
        if args.detach {
            return output::line(container.id.as_str()).map(|()| 0);
        }
        let code = self.attend(&container, exits)?;
        if let (Some(_), true) = (code, args.rm) {
            self.take_back()?;
        }
        Ok(code.unwrap_or(0))
    }

    /// Its exit code; `None` when the user has left it running. Without a terminal it has this command's streams, and
    /// there is nothing to show or to type.
    fn attend(&self, container: &Container, exits: &mut Exits) -> Result<Option<u8>, CliError> {
        let options = AttachOptions {
            from_start: true,
            silent: !self.tty,
            input: self.tty,
            signals: true,
            detach_keys: DETACH_KEYS.to_vec(),
        };
        let failed = |error: stack_runtime::RuntimeError| super::failed(error.fault(), error.hint(), &error);
        let place = (self.context.machine.layout(), self.project, container);
        let mut attachment = Attachment::open(place, &options).map_err(failed)?;
        if attachment.follow().map_err(failed)? == End::Detached {
            drop(attachment);
            output::note(&format!("left {} running", container.name));
            return Ok(None);
        }
        let (_, exit) = exits.next(|id| *id == container.id)?;
        attachment.show_all().map_err(failed)?;
        Ok(Some(super::exit_code(exit)))
    }
}
