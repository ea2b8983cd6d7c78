//! One file a verb: its options, and what it does with them.

pub(crate) mod build;
pub(crate) mod config;
pub(crate) mod demo;
pub(crate) mod down;
pub(crate) mod exec;
pub(crate) mod explain;
mod follow;
pub(crate) mod load;
pub(crate) mod logs;
pub(crate) mod plan;
pub(crate) mod ps;
pub(crate) mod pull;
pub(crate) mod restart;
mod schema;
pub(crate) mod start;
pub(crate) mod stop;
pub(crate) mod up;
mod version;

use stack_model::{Failure, Fault, Millis};

use crate::arguments::Verb;
use crate::context::Context;
use crate::error::CliError;

/// Runs a verb and returns the exit code.
pub(crate) fn run(context: &Context, verb: Verb) -> Result<u8, CliError> {
    match verb {
        Verb::Up(args) => up::run(context, &args),
        Verb::Down(args) => down::run(context, &args),
        Verb::Ps(args) => ps::run(context, &args),
        Verb::Logs(args) => logs::run(context, &args),
        Verb::Exec(args) => exec::run(context, args),
        Verb::Stop(args) => stop::run(context, args),
        Verb::Start(args) => start::run(context, args),
        Verb::Restart(args) => restart::run(context, args),
        Verb::Config(args) => config::run(context, &args),
        Verb::Schema => schema::run(),
        Verb::Explain(args) => explain::run(&args),
        Verb::Plan(args) => plan::run(context, args),
        Verb::Pull(args) => pull::run(context, &args),
        Verb::Load(args) => load::run(context, &args),
        Verb::Build(args) => build::run(context, &args),
        Verb::Version => version::run(),
        Verb::Demo(args) => Ok(demo::run(args)),
    }
}

/// An error of another crate, with all its causes.
fn failed(fault: Fault, hint: Option<String>, error: &(dyn std::error::Error + 'static)) -> CliError {
    CliError::Failed(Failure { hint, ..Failure::from_error(fault, error) })
}

/// `-t SECONDS`.
fn timeout(seconds: Option<u64>) -> Option<Millis> {
    seconds.map(|seconds| Millis(seconds.saturating_mul(1000)))
}

/// Names of services as they were typed.
fn services(names: &[String]) -> Vec<stack_model::ServiceName> {
    names.iter().map(|name| stack_model::ServiceName::new(name.as_str())).collect()
}

/// `--scale SERVICE=NUMBER`.
fn scale(text: &str) -> Result<(stack_model::ServiceName, u32), String> {
    let (service, number) = text.split_once('=').ok_or("expected SERVICE=NUMBER")?;
    Ok((stack_model::ServiceName::new(service), number.parse().map_err(|_| format!("`{number}` is not a number"))?))
}
