//! From a request that was taken to the point where the command has nothing more to wait for: one loop over the
//! supervisor's events, the logs and the user's signals.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::time::{Duration, Instant};

use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use stack_model::{
    ContainerId, ContainerSpec, Desired, Ending, Event, Exit, Failure, Fault, Health, Key, NotExecuted, Observed,
    OpReport, Plan, PolicyChange, ProjectName, ServiceName, Stamped, State,
};

use crate::casualties;
use crate::client::{Accepted, Client};
use crate::context::Context;
use crate::error::{Casualty, CliError};
use crate::log_view::{From, LogView};
use crate::output::{self, Display};
use crate::settle::{Settlement, Verdict};

/// What follows from the last step of a plan is usually said within this time, else it is asked for.
const DRAINED: Duration = Duration::from_millis(30);
/// After so much silence the supervisor is asked what is left to do. It doubles with every question.
const QUIET_MIN: Duration = Duration::from_secs(1);
/// The longest silence between two questions.
const QUIET_MAX: Duration = Duration::from_secs(30);

/// A request whose effects are followed.
pub(crate) struct Session<'a> {
    context: &'a Context,
    project: ProjectName,
    /// Names things in errors and logs.
    desired: Option<Desired>,
    client: Client,
    display: Display,
    settlement: Settlement,
    signals: Option<SignalFd>,
    logs: Option<LogView>,
    deadline: Option<Instant>,
    /// Containers that ended by themselves with an error since the request.
    died: BTreeMap<(ServiceName, u32), (ContainerId, Exit)>,
    /// Containers that ended by themselves, in this order.
    ends: Vec<((ServiceName, u32), Exit)>,
    /// Some step was taken.
    any_step: bool,
    /// A container ended, or the last step was taken.
    lull: bool,
}

/// What ended a turn of the loop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turn {
    /// Events were taken; the verdict may be another one.
    Moved,
    /// The user pressed Ctrl-C, or asked in another way to end.
    Interrupted,
    /// The deadline has passed.
    TimedOut,
    /// The supervisor has ended.
    Ended,
}

impl<'a> Session<'a> {
    /// Follows a request.
    pub(crate) fn new(
        context: &'a Context,
        project: ProjectName,
        desired: Option<Desired>,
        mut client: Client,
        accepted: Accepted,
    ) -> Result<Self, CliError> {
        client.follow(accepted.sequence)?;
        Ok(Self {
            context,
            project,
            desired,
            client,
            display: Display::new(context.progress),
            settlement: Settlement::new(accepted.generation),
            signals: None,
            logs: None,
            deadline: None,
            died: BTreeMap::new(),
            ends: Vec::new(),
            any_step: false,
            lull: false,
        })
    }

    /// Takes Ctrl-C as a request from now on.
    pub(crate) fn catch_signals(&mut self) -> Result<(), CliError> {
        let failed = |errno: nix::errno::Errno| CliError::io("cannot catch signals", &errno.into());
        let mut mask = SigSet::empty();
        for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
            mask.add(signal);
        }
        mask.thread_block().map_err(failed)?;
        let flags = SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC;
        self.signals = Some(SignalFd::with_flags(&mask, flags).map_err(failed)?);
        Ok(())
    }

    /// Shows these logs beside the progress.
    pub(crate) fn show_logs(&mut self, logs: LogView) {
        self.logs = Some(logs);
    }

    /// Gives up after this time.
    pub(crate) fn set_deadline(&mut self, patience: Option<Duration>) {
        self.deadline = patience.map(|patience| Instant::now() + patience);
    }

    /// Runs until everything is there. `ask` gives the plan when the supervisor has nothing new to say about it.
    pub(crate) fn until_settled(&mut self, ask: impl Fn() -> Option<Plan>) -> Result<Turn, CliError> {
        let mut quiet = QUIET_MIN;
        loop {
            match self.settlement.verdict() {
                Verdict::Pending => {}
                Verdict::Settled | Verdict::Stuck | Verdict::Down => return Ok(Turn::Moved),
            }
            let patience = if self.settlement.is_drained() { DRAINED } else { quiet };
            match self.turn(Some(Instant::now() + patience))? {
                Some(Turn::Moved) => {}
                Some(turn) => return Ok(turn),
                None => {
                    quiet = (quiet * 2).min(QUIET_MAX);
                    match ask() {
                        Some(plan) => self.settlement.note_plan(plan),
                        // A supervisor that has much to look at gets a second silence.
                        None if quiet > QUIET_MIN * 2 || self.settlement.is_drained() => {
                            self.settlement.note_no_answer();
                        }
                        None => {}
                    }
                }
            }
        }
    }

    /// Waits for the next thing to happen, with no end in sight.
    pub(crate) fn idle(&mut self) -> Result<Turn, CliError> {
        let alarm = self.settlement.is_drained().then(|| Instant::now() + DRAINED);
        match self.turn(alarm)? {
            Some(turn) => Ok(turn),
            None => {
                self.settlement.note_no_answer();
                Ok(Turn::Moved)
            }
        }
    }

    /// Waits for the next thing to happen and takes it; `None` when `alarm` came first.
    fn turn(&mut self, alarm: Option<Instant>) -> Result<Option<Turn>, CliError> {
        self.display.draw();
        let before = Instant::now();
        let frame = self.display.frame().map(|frame| before + frame);
        let until = [alarm, self.deadline, frame].into_iter().flatten().min();
        self.wait(until)?;
        if self.take_signal()? {
            return Ok(Some(Turn::Interrupted));
        }
        let arrived = self.client.take_events()?;
        let any = !arrived.events.is_empty();
        for event in &arrived.events {
            self.note(event)?;
        }
        self.print_logs()?;
        if arrived.ended {
            return Ok(Some(Turn::Ended));
        }
        let now = Instant::now();
        if self.deadline.is_some_and(|deadline| now >= deadline) {
            return Ok(Some(Turn::TimedOut));
        }
        if !any && alarm.is_some_and(|alarm| now >= alarm) {
            return Ok(None);
        }
        Ok(Some(Turn::Moved))
    }

    fn wait(&self, until: Option<Instant>) -> Result<(), CliError> {
        let mut fds = vec![PollFd::new(&self.client, PollFlags::IN)];
        fds.extend(self.signals.iter().map(|signals| PollFd::new(signals, PollFlags::IN)));
        fds.extend(self.logs.iter().map(|logs| PollFd::new(logs, PollFlags::IN)));
        let timeout = until.map(|until| until.saturating_duration_since(Instant::now()));
        let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
        match poll(&mut fds, timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(CliError::io("cannot wait", &error.into())),
        }
    }

    fn take_signal(&mut self) -> Result<bool, CliError> {
        let Some(signals) = &mut self.signals else { return Ok(false) };
        let signal = signals.read_signal().map_err(|errno| CliError::io("cannot read signals", &errno.into()))?;
        Ok(signal.is_some())
    }

    fn note(&mut self, stamped: &Stamped) -> Result<(), CliError> {
        self.settlement.note(stamped);
        self.lull |= matches!(stamped.event, Event::Exited { .. } | Event::Converged { .. });
        match &stamped.event {
            Event::Started(op) => {
                self.any_step = true;
                self.note_container(op).map_err(|error| CliError::io("cannot follow the logs", &error))?;
            }
            Event::Finished { op, .. } => {
                if let Key::Container(service, index) = &op.key {
                    self.died.remove(&(service.clone(), *index));
                }
                self.note_container(op).map_err(|error| CliError::io("cannot follow the logs", &error))?;
            }
            Event::Exited { id, service, index, exit } if !exit.requested => {
                let who = (service.clone(), *index);
                self.ends.push((who.clone(), *exit));
                if exit.code != Some(0) {
                    self.died.insert(who, (id.clone(), *exit));
                }
            }
            Event::Rejected { reason, diagnostics } => {
                self.display.clear();
                output::note(&format!("{reason}: not applied"));
                output::report_diagnostics(diagnostics, &self.context.load().texts);
            }
            Event::Accepted { warnings, reason, .. } if reason.ends_with(" saved") => {
                output::report_diagnostics(warnings, &self.context.load().texts);
            }
            Event::Accepted { .. }
            | Event::Planned { .. }
            | Event::Failed { .. }
            | Event::Exited { .. }
            | Event::Health { .. }
            | Event::Progress { .. }
            | Event::Converged { .. }
            | Event::Down
            | Event::Warning { .. } => {}
        }
        self.display.show(stamped);
        Ok(())
    }

    /// A container that a step is about may be a new one, with a log to show.
    fn note_container(&mut self, op: &OpReport) -> io::Result<()> {
        let Some(logs) = &mut self.logs else { return Ok(()) };
        let (Some(id), Key::Container(service, index)) = (&op.container, &op.key) else { return Ok(()) };
        logs.add(id, service, &casualties::container_label(self.desired.as_ref(), service, *index), From::Beginning)
    }

    fn print_logs(&mut self) -> Result<(), CliError> {
        let Some(logs) = &mut self.logs else { return Ok(()) };
        let failed = |error: io::Error| CliError::io("cannot follow the logs", &error);
        logs.drain().map_err(failed)?;
        logs.refresh();
        loop {
            let bytes = logs.take_ready().map_err(failed)?;
            if bytes.is_empty() {
                return Ok(());
            }
            self.display.clear();
            output::result(&bytes)?;
        }
    }

    /// Shows the end of every log.
    pub(crate) fn finish_logs(&mut self) -> Result<(), CliError> {
        if let Some(logs) = &mut self.logs {
            logs.finish().map_err(|error| CliError::io("cannot read the logs", &error))?;
        }
        self.print_logs()
    }

    /// Leaves the progress on the screen.
    pub(crate) fn settle_display(&mut self) {
        self.display.settle();
    }

    /// How far the request has come.
    pub(crate) fn verdict(&self) -> Verdict {
        self.settlement.verdict()
    }

    /// What is missing is one of these services, or anything where none are named.
    pub(crate) fn concerns(&self, services: &[ServiceName]) -> bool {
        self.settlement.concerns(services)
    }

    /// Nothing is to be done and nothing is waited for, not even for a restart.
    pub(crate) fn is_converged(&self) -> bool {
        self.settlement.is_converged()
    }

    /// Some step was taken since the request.
    pub(crate) fn any_step(&self) -> bool {
        self.any_step
    }

    /// Something happened after which nothing may be running any more.
    pub(crate) fn take_lull(&mut self) -> bool {
        std::mem::take(&mut self.lull)
    }

    /// Containers that have ended by themselves since the last call.
    pub(crate) fn take_ends(&mut self) -> Vec<((ServiceName, u32), Exit)> {
        std::mem::take(&mut self.ends)
    }

    /// What a service is to be.
    pub(crate) fn spec_of(&self, service: &ServiceName) -> Option<&ContainerSpec> {
        self.desired.as_ref()?.services.get(service).map(|service| &service.container)
    }

    /// The name by which people know a container.
    pub(crate) fn label_of(&self, (service, index): &(ServiceName, u32)) -> String {
        casualties::container_label(self.desired.as_ref(), service, *index)
    }

    /// What there is now.
    pub(crate) fn observe(&self) -> Result<Observed, CliError> {
        self.context.observe(&self.project)
    }

    /// Asks for another change, whose effects are followed from now on.
    pub(crate) fn change(&mut self, change: PolicyChange) -> Result<(), CliError> {
        let mut client = self.context.connect(&self.project)?;
        let accepted = client.change(change)?;
        self.settlement = Settlement::new(accepted.generation);
        self.died.clear();
        Ok(())
    }

    /// What is missing, in the words of errors.
    pub(crate) fn casualties(&self) -> Vec<Casualty> {
        let is_final = |(service, index): &(ServiceName, u32)| {
            !self.settlement.is_started_again(&Key::Container(service.clone(), *index))
        };
        let died = self.died.iter().filter(|(who, _)| is_final(who));
        let mut casualties: Vec<Casualty> = died.map(|(who, death)| self.obituary(who, death)).collect();
        casualties.extend(casualties::describe(self.desired.as_ref(), &self.settlement));
        casualties
    }

    /// Why a program could not be executed, where that is what failed.
    pub(crate) fn not_executed(&self) -> Option<NotExecuted> {
        let troubles = self.settlement.troubles();
        troubles.into_iter().find_map(|trouble| match *trouble.failure.ending? {
            Ending::NotExecuted { why, .. } => Some(why),
            _ => None,
        })
    }

    /// What waits for something, one line each.
    pub(crate) fn waiting(&self) -> Vec<String> {
        casualties::waiting(self.desired.as_ref(), &self.settlement)
    }

    fn obituary(&self, (service, index): &(ServiceName, u32), (id, exit): &(ContainerId, Exit)) -> Casualty {
        let directory = self.context.machine.layout().container(&self.project, id);
        Casualty {
            subject: casualties::container_label(self.desired.as_ref(), service, *index),
            message: format!("has ended: {exit}"),
            last_lines: casualties::last_lines(&directory),
            ..Casualty::default()
        }
    }

    /// Whether everything runs and is healthy; containers that have failed for good are an error.
    pub(crate) fn health(&self, services: &BTreeSet<ServiceName>) -> Result<bool, CliError> {
        let observed = self.observe()?;
        let mut ready = true;
        let mut casualties = Vec::new();
        for container in observed.containers.values() {
            let record = &container.container;
            if !services.is_empty() && !services.contains(&record.service) {
                continue;
            }
            let message = match (&container.state, &container.health) {
                (State::Exited { exit, .. }, _) if exit.code != Some(0) => Some(format!("has ended: {exit}")),
                (_, Health::Unhealthy { output, .. }) => Some(format!("is unhealthy: {}", output.trim_end())),
                (State::Running { .. } | State::Exited { .. }, Health::None | Health::Healthy) => None,
                (State::Exited { .. }, Health::Starting) => None,
                (State::Running { .. }, Health::Starting) | (State::Creating | State::Created | State::Removing, _) => {
                    ready = false;
                    None
                }
            };
            casualties.extend(message.map(|message| Casualty {
                subject: casualties::container_label(self.desired.as_ref(), &record.service, record.index),
                message,
                last_lines: casualties::last_lines(&self.context.machine.layout().container(&self.project, &record.id)),
                ..Casualty::default()
            }));
        }
        if casualties.is_empty() { Ok(ready) } else { Err(CliError::Incomplete(casualties)) }
    }

    /// The error of a supervisor that went away in the middle.
    pub(crate) fn lost() -> CliError {
        let failure = Failure::new(Fault::Transient, "the supervisor ended in the middle of it");
        failure.hint("containers go on; run the command again").into()
    }
}
