//! `stack plan`.

use clap::{Args, ValueEnum};
use stack_compose::Project;
use stack_model::{History, Plan, ServiceName, UpOptions};

use super::recreate;
use crate::context::{Context, now};
use crate::error::CliError;
use crate::output;

/// Options of `plan`.
#[derive(Debug, Args)]
pub(crate) struct PlanArgs {
    /// How it is shown
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    /// Number of containers of a service
    #[arg(long, value_name = "SERVICE=NUMBER", value_parser = super::scale_of)]
    scale: Vec<(ServiceName, u32)>,
    #[command(flatten)]
    recreate: recreate::RecreateArgs,
    /// Only these and what they depend on; all by default
    services: Vec<String>,
}

/// How a plan is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Text,
    Json,
}

pub(crate) fn run(context: &Context, args: PlanArgs) -> Result<u8, CliError> {
    let project = context.project()?;
    let options = UpOptions {
        services: super::services(&args.services),
        scale: args.scale.into_iter().collect(),
        ..args.recreate.options()
    };
    let plan = foretell(context, &project, options)?;
    show(&plan, args.format)
}

/// `up --dry-run`.
pub(super) fn dry_run(context: &Context, options: UpOptions) -> Result<u8, CliError> {
    let plan = foretell(context, &context.project()?, options)?;
    show(&plan, Format::Text)
}

/// What `up` with these options would do.
fn foretell(context: &Context, project: &Project, options: UpOptions) -> Result<Plan, CliError> {
    match context.connect_if_running(project.name()) {
        Some(mut client) => Ok(client.plan(context.source.clone(), Some(options))?),
        None => {
            let base = project.lower(&context.machine.layout().instance());
            let mut policy = stack_engine::Policy::default();
            policy.up(&options, &base, now())?;
            let desired = policy.apply(&base, 1);
            let observed = context.machine.observe(&desired)?;
            Ok(stack_plan::plan(&desired, &observed, &History::default(), now()))
        }
    }
}

fn show(plan: &Plan, format: Format) -> Result<u8, CliError> {
    match format {
        Format::Json => {
            let text = serde_json::to_string_pretty(plan).map_err(|error| CliError::output(&error.into()))?;
            output::line(&text)?;
        }
        Format::Text => {
            output::result(plan.to_string().as_bytes())?;
            if plan.is_converged() {
                output::note("nothing to do");
            }
        }
    }
    Ok(0)
}
