//! What each command does with its arguments. Only this module prints to standard output.

#![expect(clippy::print_stdout, reason = "it is what the commands are for")]

use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};

use nix::sys::signal::Signal;
use oci_spec::runtime::LinuxResources;
use serde_json::{Value, json};
use stack_model::IfName;
use stack_runtime::oci::{CreateOptions, GiveInterface, OciError, ProcessOptions, Runtime, default_spec, features};

use crate::arguments::{Arguments, CreateArgs, ExecArgs, SpecArgs, UpdateArgs, Verb};
use crate::listing;
use crate::report::message;

/// systemd runs and is process 1 (sd_booted(3)).
const SYSTEMD_SIGN: &str = "/run/systemd/system";

/// Runs one command and returns the exit code.
pub(crate) fn run(arguments: Arguments, warn: &dyn Fn(&str)) -> Result<u8, OciError> {
    let systemd = arguments.global.systemd_cgroup;
    if systemd && !Path::new(SYSTEMD_SIGN).exists() {
        return Err(usage("--systemd-cgroup: systemd does not run on this machine; leave it out"));
    }
    let give_interface = Some(give_interface as GiveInterface);
    let runtime = Runtime { give_interface, ..Runtime::new(arguments.global.root) };
    match arguments.verb {
        Verb::Create(args) => {
            let created = runtime.create(&create_options(args, systemd)?)?;
            created.warnings.iter().for_each(|text| warn(text));
        }
        Verb::Start(args) => runtime.start(&args.id)?,
        Verb::Run(args) => {
            let options = create_options(args.create, systemd)?;
            return runtime.run(&options, (args.detach, args.keep), warn).map(exit_code);
        }
        Verb::State(args) => print_json(&runtime.state(&args.id)?),
        Verb::Kill(args) => {
            let signal = signal_number(&args.signal)?;
            return each(&runtime, args.id, args.regex, |id| runtime.kill(id, signal, args.all));
        }
        Verb::Delete(args) => return each(&runtime, args.id, args.regex, |id| runtime.delete(id, args.force)),
        Verb::Exec(args) => return exec(&runtime, args),
        Verb::Pause(args) => runtime.freeze(&args.id, true)?,
        Verb::Resume(args) => runtime.freeze(&args.id, false)?,
        Verb::Update(args) => update(&runtime, args)?,
        Verb::Ps(args) => listing::ps(&runtime, &args)?,
        Verb::List(args) => listing::list(&runtime, &args)?,
        Verb::Events(args) => listing::events(&runtime, &args)?,
        Verb::Spec(args) => spec(&args)?,
        Verb::Features => print_json(&features()),
        Verb::Checkpoint(_) | Verb::Restore(_) => {
            return Err(usage("checkpoint and restore are not supported: they need CRIU, which is another program"));
        }
    }
    Ok(0)
}

fn give_interface(name: &str, inside: &str, namespace: BorrowedFd<'_>) -> Result<(), String> {
    stack_net::give_interface(&IfName::new(name), &IfName::new(inside), namespace).map_err(|error| message(&error))
}

/// Does it to one container, or to all whose name a regular expression finds something in.
fn each(
    runtime: &Runtime,
    id: String,
    is_pattern: bool,
    act: impl Fn(&str) -> Result<(), OciError>,
) -> Result<u8, OciError> {
    let ids = if is_pattern { runtime.matching(&id)? } else { vec![id] };
    ids.iter().try_for_each(|id| act(id)).map(|()| 0)
}

pub(crate) fn usage(text: impl Into<String>) -> OciError {
    OciError::Usage(text.into())
}

fn exit_code(code: i32) -> u8 {
    u8::try_from(code).unwrap_or(255)
}

fn create_options(args: CreateArgs, systemd: bool) -> Result<CreateOptions, OciError> {
    let bundle = fs_err::canonicalize(&args.bundle)
        .map_err(|source| OciError::File { what: format!("open the bundle {}", args.bundle.display()), source })?;
    Ok(CreateOptions {
        id: args.id,
        bundle,
        config: args.config,
        pid_file: args.pid_file.map(absolute),
        console_socket: args.console_socket.map(absolute),
        preserve_fds: args.preserve_fds.into(),
        no_pivot: args.no_pivot,
        systemd,
    })
}

fn absolute(path: PathBuf) -> PathBuf {
    std::path::absolute(&path).unwrap_or(path)
}

fn exec(runtime: &Runtime, args: ExecArgs) -> Result<u8, OciError> {
    if args.argv.is_empty() && args.process.is_none() {
        return Err(usage("exec: no program is given, and no --process"));
    }
    let options = ProcessOptions {
        process: args.process,
        argv: args.argv,
        cwd: args.cwd,
        env: args.env,
        user: args.user,
        groups: args.additional_gids,
        tty: args.tty,
        detach: args.detach,
        capabilities: args.cap,
        no_new_privileges: args.no_new_privs,
        apparmor: args.apparmor,
        selinux: args.process_label,
        pid_file: args.pid_file.map(absolute),
        console_socket: args.console_socket.map(absolute),
        preserve_fds: args.preserve_fds.into(),
        cgroups: args.cgroup,
        ignore_paused: args.ignore_paused,
    };
    runtime.exec(&args.id, &options).map(exit_code)
}

/// A name with or without `SIG`, in any case, or a number.
fn signal_number(text: &str) -> Result<i32, OciError> {
    let wrong = || usage(format!("`{text}` is no signal"));
    if let Ok(number) = text.parse::<i32>() {
        return if (0..=64).contains(&number) { Ok(number) } else { Err(wrong()) };
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    if let Some(rest) = name.strip_prefix("RTMIN") {
        let above: i32 = if rest.is_empty() { 0 } else { rest.trim_start_matches('+').parse().map_err(|_| wrong())? };
        return Ok(34 + above);
    }
    format!("SIG{name}").parse::<Signal>().map(|signal| signal as i32).map_err(|_| wrong())
}

fn update(runtime: &Runtime, args: UpdateArgs) -> Result<(), OciError> {
    let resources: LinuxResources = match &args.resources {
        Some(file) => Runtime::read_resources(file)?,
        None => {
            let mut all = json!({});
            let mut set = |group: &str, name: &str, value: Option<Value>| {
                if let Some(value) = value {
                    all[group][name] = value;
                }
            };
            set("memory", "limit", args.memory.map(|bytes| bytes.0.into()));
            set("memory", "reservation", args.memory_reservation.map(|bytes| bytes.0.into()));
            set("memory", "swap", args.memory_swap.map(|bytes| bytes.0.into()));
            set("memory", "kernel", args.kernel_memory.map(|bytes| bytes.0.into()));
            set("memory", "kernelTCP", args.kernel_memory_tcp.map(|bytes| bytes.0.into()));
            set("cpu", "quota", args.cpu_quota.map(Value::from));
            set("cpu", "period", args.cpu_period.map(Value::from));
            set("cpu", "shares", args.cpu_share.map(Value::from));
            set("cpu", "burst", args.cpu_burst.map(Value::from));
            set("cpu", "realtimeRuntime", args.cpu_rt_runtime.map(Value::from));
            set("cpu", "realtimePeriod", args.cpu_rt_period.map(Value::from));
            set("cpu", "idle", args.cpu_idle.map(Value::from));
            set("cpu", "cpus", args.cpuset_cpus.map(Value::from));
            set("cpu", "mems", args.cpuset_mems.map(Value::from));
            set("pids", "limit", args.pids_limit.map(Value::from));
            set("blockIO", "weight", args.blkio_weight.map(Value::from));
            serde_json::from_value(all).map_err(|error| usage(error.to_string()))?
        }
    };
    runtime.update(&args.id, &resources)
}

fn spec(args: &SpecArgs) -> Result<(), OciError> {
    let file = args.bundle.join(&args.file);
    let text = serde_json::to_string_pretty(&default_spec(args.rootless)).unwrap_or_default();
    let write = |path: &Path| {
        let mut options = fs_err::OpenOptions::new();
        std::io::Write::write_all(&mut options.write(true).create_new(true).open(path)?, text.as_bytes())
    };
    write(&file).map_err(|source| OciError::File { what: format!("write {}", file.display()), source })
}

fn print_json(value: &Value) {
    println!("{}", serde_json::to_string_pretty(value).unwrap_or_default());
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};

    use super::*;

    #[test]
    fn signals_by_name_and_number() {
        for (text, number) in [("9", 9), ("KILL", 9), ("SIGKILL", 9), ("sigterm", 15), ("RTMIN+3", 37), ("0", 0)] {
            assert_eq!(signal_number(text).unwrap(), number, "{text}");
        }
        assert!(signal_number("KIL").is_err() && signal_number("65").is_err());
    }

    #[test]
    fn options_come_before_and_after_the_name() {
        Arguments::command().debug_assert();
        let parse = |line: &str| Arguments::try_parse_from(line.split(' '));
        let parsed = parse("stack-oci --root /r --debug create --bundle /b ID --pid-file /p --log /l").unwrap();
        assert_eq!(parsed.global.root, Some(PathBuf::from("/r")));
        assert_eq!(parsed.global.log, Some(PathBuf::from("/l")));
        let Verb::Create(create) = parsed.verb else { panic!("not create") };
        assert_eq!((create.id.as_str(), create.pid_file), ("ID", Some(PathBuf::from("/p"))));
        assert!(parse("stack-oci create").is_err());
        let Verb::Exec(exec) = parse("stack-oci exec -t --env A=1 ID ls -l --root x").unwrap().verb else {
            panic!("not exec")
        };
        assert_eq!(exec.argv, ["ls", "-l", "--root", "x"]);
    }
}
