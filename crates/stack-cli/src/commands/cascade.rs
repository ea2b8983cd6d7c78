//! `up` that ends everything when one container ends, as tests in a project of their own are run.

use std::collections::BTreeMap;

use clap::Args;
use stack_model::{Desired, Exit, ServiceName, State};

use crate::error::CliError;
use crate::session::Session;

/// Options of `up` about containers that end.
#[derive(Debug, Args)]
pub(crate) struct CascadeArgs {
    /// Stop everything when a container has ended, and end with its exit code
    #[arg(long, conflicts_with_all = ["detach", "wait"])]
    abort_on_container_exit: bool,
    /// The same for containers that have failed
    #[arg(long, conflicts_with_all = ["detach", "wait", "abort_on_container_exit"])]
    abort_on_container_failure: bool,
    /// End with the exit code of this service; implies --abort-on-container-exit
    #[arg(long, value_name = "SERVICE", conflicts_with_all = ["detach", "wait", "abort_on_container_failure"])]
    exit_code_from: Option<String>,
}

/// Watches for the end that ends everything.
#[derive(Debug, Default)]
pub(crate) struct Cascade {
    on_exit: bool,
    on_failure: bool,
    code_from: Option<ServiceName>,
    /// How often each container has ended.
    counts: BTreeMap<(ServiceName, u32), u32>,
}

impl CascadeArgs {
    /// The end of something is waited for, so what has ended before is to run again.
    pub(crate) fn is_any(&self) -> bool {
        self.abort_on_container_exit || self.abort_on_container_failure || self.exit_code_from.is_some()
    }

    /// Refuses a service that is not there.
    pub(crate) fn cascade(&self, desired: &Desired) -> Result<Cascade, CliError> {
        let code_from = self.exit_code_from.as_deref().map(ServiceName::new);
        if let Some(unknown) = code_from.as_ref().filter(|name| !desired.services.contains_key(*name)) {
            return Err(super::unknown_service(unknown.as_str()));
        }
        Ok(Cascade {
            on_exit: self.abort_on_container_exit || code_from.is_some(),
            on_failure: self.abort_on_container_failure,
            code_from,
            counts: BTreeMap::new(),
        })
    }
}

impl Cascade {
    /// The first end for good that counts, with the container's name.
    pub(crate) fn first(&mut self, session: &mut Session<'_>) -> Option<(String, Exit)> {
        let ends = session.take_ends();
        let counts = |exit: &Exit| self.on_exit || self.on_failure && exit.code != Some(0);
        ends.into_iter().find_map(|(who, exit)| {
            let count = self.counts.entry(who.clone()).or_default();
            *count += 1;
            let is_final = session.spec_of(&who.0).is_none_or(|spec| stack_plan::stays_down(spec, exit, *count - 1));
            (is_final && counts(&exit)).then(|| (session.label_of(&who), exit))
        })
    }

    /// The exit code of the command after everything has ended.
    pub(crate) fn code(&self, session: &Session<'_>, first: Exit) -> Result<u8, CliError> {
        let Some(service) = &self.code_from else { return Ok(super::exit_code(first)) };
        let observed = session.observe()?;
        let mut ends = observed.containers.values().filter(|it| it.container.service == *service);
        let exit = ends.find_map(|it| match it.state {
            State::Exited { exit, .. } => Some(exit),
            State::Creating | State::Created | State::Running { .. } | State::Removing => None,
        });
        // One that was never started has not failed.
        Ok(exit.map_or(0, super::exit_code))
    }
}
