//! What containers and their processes are doing: `ps`, `list` and `events`.

#![expect(clippy::print_stdout, reason = "it is what the commands are for")]

use std::time::Duration;

use serde_json::json;
use stack_runtime::oci::{Listed, OciError, Runtime};
use stack_runtime::{HostFacts, ProcessRow};

use crate::arguments::{EventsArgs, ListArgs, PsArgs};
use crate::commands::usage;

/// The two forms of ps(1) that engines ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// `-ef`, which is runc's own choice.
    Full,
    /// `-e -x`, `ax`.
    Short,
}

/// What is chosen by the options of ps(1). Which processes are shown they do not decide: those of the container are.
fn form(options: &[String]) -> Option<Form> {
    let letters: String = options.iter().map(|option| option.trim_start_matches('-')).collect();
    let is_known = letters.chars().all(|letter| "aAefx".contains(letter));
    let short = letters.contains('x') && !letters.contains('f');
    is_known.then_some(if short { Form::Short } else { Form::Full })
}

pub(crate) fn ps(runtime: &Runtime, args: &PsArgs) -> Result<(), OciError> {
    let mut processes = runtime.processes(&args.id)?;
    match args.format.as_str() {
        "json" => {
            println!("{}", json!(processes));
            return Ok(());
        }
        "table" => {}
        other => return Err(usage(format!("ps: the format is `table` or `json`, not `{other}`"))),
    }
    let form = form(&args.options).ok_or_else(|| {
        let options = args.options.join(" ");
        usage(format!("ps: `{options}` is not supported: the options of ps(1) that are known are -e, -f, a and x"))
    })?;
    processes.sort_unstable();
    let (host, rows) = (HostFacts::read(), processes.into_iter().filter_map(ProcessRow::read));
    match form {
        Form::Full => {
            let head = ["UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD"].map(str::to_owned);
            table(&std::iter::once(head).chain(rows.map(|row| row.columns(&host))).collect::<Vec<_>>());
        }
        Form::Short => {
            let head = ["   PID", "TTY", "STAT", "TIME", "COMMAND"].map(str::to_owned);
            table(&std::iter::once(head).chain(rows.map(|row| row.short_columns())).collect::<Vec<_>>());
        }
    }
    Ok(())
}

/// Prints rows in columns.
fn table<const N: usize>(rows: &[[String; N]]) {
    let width = |at: usize| rows.iter().map(|row| row[at].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..N).map(width).collect();
    for row in rows {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}", width = *width + 2));
        println!("{}", cells.collect::<String>().trim_end());
    }
}

pub(crate) fn list(runtime: &Runtime, args: &ListArgs) -> Result<(), OciError> {
    let all = runtime.list()?;
    if args.quiet {
        all.iter().for_each(|one| println!("{}", one.id));
        return Ok(());
    }
    if args.format == "json" {
        println!("{}", json!(all));
        return Ok(());
    }
    let head = ["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"].map(str::to_owned);
    let row = |one: &Listed| {
        let bundle = one.bundle.display().to_string();
        [one.id.clone(), one.pid.to_string(), one.status.clone(), bundle, one.created.clone(), one.owner.clone()]
    };
    let rows: Vec<[String; 6]> = std::iter::once(head).chain(all.iter().map(row)).collect();
    table(&rows);
    Ok(())
}

pub(crate) fn events(runtime: &Runtime, args: &EventsArgs) -> Result<(), OciError> {
    let interval = interval(&args.interval).ok_or_else(|| usage("events: the interval is like 5s or 100ms"))?;
    let mut killed = None;
    loop {
        let kills = runtime.oom_kills(&args.id);
        if let (Some(before), Ok(now)) = (killed, &kills)
            && *now > before
        {
            println!("{}", json!({ "type": "oom", "id": args.id }));
        }
        killed = kills.ok();
        let stats = match runtime.statistics(&args.id) {
            Ok(stats) => stats,
            // It has ended, and with it the events.
            Err(OciError::Status { .. } | OciError::Missing(_)) if !args.stats && killed.is_some() => return Ok(()),
            Err(error) => return Err(error),
        };
        let data = json!({
            "cpu": { "usage": { "total": stats.cpu_nanos } },
            "memory": {
                "usage": {
                    "usage": stats.memory_usage, "max": stats.memory_peak, "limit": stats.memory_limit.unwrap_or(0),
                },
                "killed": stats.oom_kills,
            },
            "pids": { "current": stats.pids, "limit": stats.pids_limit.unwrap_or(0) },
        });
        println!("{}", json!({ "type": "stats", "id": args.id, "data": data }));
        if args.stats {
            return Ok(());
        }
        runtime.wait(&args.id, interval)?;
    }
}

/// A time as engines write it: `5s`, `100ms`, `1m`.
fn interval(text: &str) -> Option<Duration> {
    let digits = text.find(|one: char| !one.is_ascii_digit() && one != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let seconds = match unit {
        "ms" => 1e-3,
        "" | "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return None,
    };
    let time = number.parse::<f64>().ok()? * seconds;
    Duration::try_from_secs_f64(time).ok().filter(|time| !time.is_zero())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_have_units() {
        assert_eq!(interval("100ms"), Some(Duration::from_millis(100)));
        assert_eq!(interval("1.5m"), Some(Duration::from_secs(90)));
        assert!(["0s", "", "5x", "-1s"].into_iter().all(|text| interval(text).is_none()));
    }

    #[test]
    fn the_options_of_ps_choose_a_form() {
        let of = |line: &str| form(&line.split_whitespace().map(str::to_owned).collect::<Vec<_>>());
        assert_eq!((of(""), of("-ef"), of("-e -f")), (Some(Form::Full), Some(Form::Full), Some(Form::Full)));
        assert_eq!((of("-e -x"), of("ax")), (Some(Form::Short), Some(Form::Short)));
        assert_eq!(of("-o pid"), None);
    }
}
