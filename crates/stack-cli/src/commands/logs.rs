//! `stack logs`.

use std::io;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::Args;
use rustix::event::{PollFd, PollFlags, poll};
use stack_model::{Container, ProjectName, ServiceName};

use crate::context::Context;
use crate::error::CliError;
use crate::log_view::{From, LogView, Shown};
use crate::output::{self, LineStyle};

/// Options of `logs`.
#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
pub(crate) struct LogsArgs {
    /// Go on with what comes
    #[arg(short, long)]
    follow: bool,
    /// Only so many of the last lines of each container, or `all`
    #[arg(short = 'n', long, value_name = "LINES", value_parser = tail)]
    tail: Option<Tail>,
    /// Show when each line was written
    #[arg(short, long)]
    timestamps: bool,
    /// Only lines since a time (2026-01-31T12:00:00Z) or for a duration (10m)
    #[arg(long, value_name = "TIME", value_parser = moment)]
    since: Option<u64>,
    /// Only lines until then
    #[arg(long, value_name = "TIME", value_parser = moment, conflicts_with = "follow")]
    until: Option<u64>,
    /// Only the container with this number
    #[arg(long, value_name = "NUMBER")]
    index: Option<u32>,
    /// Without the names of the containers
    #[arg(long)]
    no_log_prefix: bool,
    /// Without colours
    #[arg(long)]
    no_color: bool,
    /// Only these; all by default
    services: Vec<String>,
}

/// Whose logs are shown.
struct Wanted {
    /// All where none are named.
    services: Vec<ServiceName>,
    index: Option<u32>,
}

impl Wanted {
    fn has(&self, container: &Container) -> bool {
        let named = self.services.is_empty() || self.services.contains(&container.service);
        named && self.index.is_none_or(|index| index == container.index)
    }
}

/// How many of the last lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tail {
    All,
    Lines(usize),
}

pub(crate) fn run(context: &Context, args: &LogsArgs) -> Result<u8, CliError> {
    let project = context.project_name()?;
    let services = super::services(&args.services);
    let colour = !args.no_color && output::has_colour();
    let style = LineStyle { prefix: !args.no_log_prefix, colour, timestamps: args.timestamps };
    let mut view = LogView::new(context.machine.layout(), &project, style, Shown::default())?;
    let failed = |error: io::Error| CliError::io("cannot read the logs", &error);
    // Watched before the first look, so that a container in between is not missed.
    let may_follow = view.watch_containers().map_err(failed)?;
    let wanted = Wanted { services, index: args.index };
    find_containers(context, &project, &wanted, &mut view)?;
    let tail = match args.tail {
        Some(Tail::Lines(count)) => Some(count),
        Some(Tail::All) | None => None,
    };
    let times = args.since.unwrap_or(0)..=args.until.unwrap_or(u64::MAX);
    view.keep_tail(tail, times).map_err(failed)?;
    view.print_ready()?;
    if args.follow && may_follow {
        return follow(context, &project, &wanted, view);
    }
    // When a line without an end will have been written is not known.
    if args.until.is_none() {
        view.finish().map_err(failed)?;
    }
    view.print_ready()?;
    Ok(0)
}

/// Shows what comes, until a signal ends the command.
fn follow(context: &Context, project: &ProjectName, wanted: &Wanted, mut view: LogView) -> Result<u8, CliError> {
    let failed = |error: io::Error| CliError::io("cannot follow the logs", &error);
    loop {
        match poll(&mut [PollFd::new(&view, PollFlags::IN)], None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(failed(error.into())),
        }
        view.drain().map_err(failed)?;
        if view.has_new_containers() {
            find_containers(context, project, wanted, &mut view)?;
        }
        view.print_ready()?;
    }
}

/// Adds the logs of containers that are not shown yet.
fn find_containers(
    context: &Context,
    project: &ProjectName,
    wanted: &Wanted,
    view: &mut LogView,
) -> Result<(), CliError> {
    let records = stack_runtime::observe_containers(context.machine.layout(), project)
        .map_err(|error| super::failed(error.fault(), error.hint(), &error))?;
    let mut containers: Vec<_> = records.into_iter().map(|(container, _)| container).collect();
    containers.retain(|container| wanted.has(container));
    containers.sort_by(|a, b| (&a.service, a.index).cmp(&(&b.service, b.index)));
    for container in containers {
        let label = container.spec.container_name.clone();
        let label = label.unwrap_or_else(|| format!("{}-{}", container.service, container.index));
        view.add(&container.id, &container.service, &label, From::Beginning)
            .map_err(|error| CliError::io("cannot read the logs", &error))?;
    }
    Ok(())
}

fn tail(text: &str) -> Result<Tail, String> {
    if text == "all" {
        return Ok(Tail::All);
    }
    text.parse().map(Tail::Lines).map_err(|_| "expected a number of lines or `all`".to_owned())
}

/// Nanoseconds since the epoch, from any form that docker takes: RFC 3339, without a zone in the local one, a date,
/// seconds since the epoch, or a duration before now.
fn moment(text: &str) -> Result<u64, String> {
    let wrong = || "expected a time such as 2026-01-31T12:00:00Z or a duration such as 10m".to_owned();
    let local = |time: jiff::civil::DateTime| time.to_zoned(jiff::tz::TimeZone::system()).ok();
    let time = text.parse::<jiff::Timestamp>().ok();
    let time = time.or_else(|| text.parse().ok().and_then(local).map(|zoned| zoned.timestamp()));
    if let Some(time) = time {
        return u64::try_from(time.as_nanosecond()).map_err(|_| wrong());
    }
    if let Ok(since_epoch) = text.parse::<f64>().map(Duration::try_from_secs_f64) {
        return since_epoch.ok().and_then(|since| u64::try_from(since.as_nanos()).ok()).ok_or_else(wrong);
    }
    let span: jiff::SignedDuration = text.parse().map_err(|_| wrong())?;
    let ago = Duration::try_from(span).map_err(|_| wrong())?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Ok(u64::try_from(now.saturating_sub(ago).as_nanos()).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tails_and_times_are_parsed_or_explained() {
        assert_eq!((tail("all"), tail("7")), (Ok(Tail::All), Ok(Tail::Lines(7))));
        assert!(tail("many").is_err());
        for second in ["1970-01-01T00:00:01Z", "1970-01-01T01:00:01+01:00", "1", "1.0"] {
            assert_eq!(moment(second), Ok(1_000_000_000), "{second}");
        }
        let day = |text: &str| moment(text).unwrap();
        assert_eq!(day("2026-02-01") - day("2026-01-31T12:00:00"), 43_200_000_000_000);
        assert!(moment("10m").unwrap() > moment("1h").unwrap());
        for wrong in ["yesterday", "-1", "NaN", "1e300"] {
            assert!(moment(wrong).is_err(), "{wrong}");
        }
    }
}
