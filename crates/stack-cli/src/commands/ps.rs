//! `stack ps`.

use clap::{Args, ValueEnum};
use serde_json::json;
use stack_model::{Container, Ending, Health, Now, ObservedContainer, PublishedPort, ServiceName, State};

use super::Format;
use crate::context::{Context, now};
use crate::error::CliError;
use crate::output;

/// Options of `ps`.
#[derive(Debug, Args)]
pub(crate) struct PsArgs {
    /// Stopped containers too
    #[arg(short, long)]
    all: bool,
    /// Only identifiers
    #[arg(short, long)]
    quiet: bool,
    /// Only names of services
    #[arg(long)]
    services: bool,
    /// How it is shown
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
    /// Only containers in this state, also such that do not run; may be repeated
    #[arg(long, value_enum, value_name = "STATE")]
    status: Vec<Status>,
    /// The same as `status=STATE`
    #[arg(long, value_name = "NAME=VALUE", value_parser = filter)]
    filter: Vec<Status>,
    /// Commands at full length
    #[arg(long)]
    no_trunc: bool,
    /// Accepted for docker compose: containers of removed services always go
    #[arg(long, hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    orphans: Option<bool>,
    /// Only these; all by default
    #[arg(value_name = "SERVICE")]
    names: Vec<String>,
}

/// States of containers, as docker names them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Status {
    Created,
    Running,
    Paused,
    Removing,
    Exited,
}

impl Status {
    fn of(observed: &ObservedContainer) -> Self {
        match observed.state {
            State::Creating | State::Created => Self::Created,
            State::Running { .. } if observed.paused => Self::Paused,
            State::Running { .. } => Self::Running,
            State::Exited { .. } => Self::Exited,
            State::Removing => Self::Removing,
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Removing => "removing",
            Self::Exited => "exited",
        }
    }
}

impl PsArgs {
    fn has(&self, container: &ObservedContainer) -> bool {
        let mut states = self.status.iter().chain(&self.filter).peekable();
        match states.peek() {
            Some(_) => states.any(|state| *state == Status::of(container)),
            None => self.all || container.is_running(),
        }
    }
}

/// `--filter status=STATE`.
fn filter(text: &str) -> Result<Status, String> {
    let state = text.strip_prefix("status=").ok_or("expected status=STATE")?;
    Status::from_str(state, false).map_err(|_| format!("there is no state `{state}`"))
}

pub(crate) fn run(context: &Context, args: &PsArgs) -> Result<u8, CliError> {
    let project = context.project_name()?;
    let observed = context.observe(&project)?;
    let mut containers: Vec<&ObservedContainer> = observed
        .containers
        .values()
        .filter(|container| args.has(container))
        .filter(|container| {
            args.names.is_empty() || args.names.iter().any(|name| name == container.container.service.as_str())
        })
        .collect();
    containers.sort_by_key(|container| (&container.container.service, container.container.index));
    output::result(render(args, &containers, now()).as_bytes())?;
    Ok(0)
}

fn render(args: &PsArgs, containers: &[&ObservedContainer], now: Now) -> String {
    let lines = |lines: Vec<String>| lines.iter().map(|line| format!("{line}\n")).collect();
    if args.quiet {
        return lines(containers.iter().map(|container| container.container.id.to_string()).collect());
    }
    if args.services {
        let mut services: Vec<String> =
            containers.iter().map(|container| container.container.service.to_string()).collect();
        services.dedup();
        return lines(services);
    }
    match args.format {
        Format::Table => {
            let rows: Vec<Vec<String>> =
                containers.iter().map(|container| row(container, now, args.no_trunc)).collect();
            output::table(&HEADS, &rows)
        }
        Format::Json => lines(containers.iter().map(|container| object(container, now).to_string()).collect()),
    }
}

const HEADS: [&str; 7] = ["NAME", "IMAGE", "COMMAND", "SERVICE", "CREATED", "STATUS", "PORTS"];
/// Characters of a command that a table shows.
const COMMAND_CHARS: usize = 22;

fn row(observed: &ObservedContainer, now: Now, whole: bool) -> Vec<String> {
    let container = &observed.container;
    vec![
        container.name.clone(),
        container.spec.image.to_string(),
        command(&container.process.argv, whole),
        service(container).to_string(),
        format!("{} ago", ago(now, container.created)),
        status(observed, now),
        ports(observed),
    ]
}

fn object(observed: &ObservedContainer, now: Now) -> serde_json::Value {
    let container = &observed.container;
    let (exit, ending) = match &observed.state {
        State::Exited { exit, .. } => (exit.shell_code(), Some(Ending::from(*exit))),
        State::Creating | State::Created | State::Running { .. } | State::Removing => (0, None),
    };
    let pid = match observed.state {
        State::Running { pid, .. } => pid,
        State::Creating | State::Created | State::Exited { .. } | State::Removing => 0,
    };
    let publishers: Vec<_> = container
        .ports
        .iter()
        .map(|port| {
            json!({
                "URL": port.host_ip.map_or_else(|| "0.0.0.0".to_owned(), |ip| ip.to_string()),
                "TargetPort": port.target,
                "PublishedPort": port.host_port,
                "Protocol": port.protocol.to_string(),
            })
        })
        .collect();
    json!({
        "ID": container.id,
        "Name": container.name,
        "Image": container.spec.image,
        "Command": container.process.argv.join(" "),
        "Service": service(container),
        "CreatedAt": container.created,
        "State": Status::of(observed).word(),
        "Status": status(observed, now),
        "Health": health(&observed.health).unwrap_or_default(),
        "ExitCode": exit,
        "Ending": ending,
        "Pid": pid,
        "Publishers": publishers,
    })
}

/// The service of the file; what runs once is shown with the one that it is like.
fn service(container: &Container) -> &ServiceName {
    container.one_off.as_ref().map_or(&container.service, |one_off| &one_off.of)
}

fn command(argv: &[String], whole: bool) -> String {
    let text = argv.join(" ");
    if whole || text.chars().count() <= COMMAND_CHARS {
        return format!("\"{text}\"");
    }
    let cut: String = text.chars().take(COMMAND_CHARS - 1).collect();
    format!("\"{cut}…\"")
}

fn status(observed: &ObservedContainer, now: Now) -> String {
    match &observed.state {
        State::Creating | State::Created => "Created".to_owned(),
        State::Removing => "Removing".to_owned(),
        State::Running { started, stopping, .. } => {
            let verdict = health(&observed.health).map(|health| format!(" ({health})")).unwrap_or_default();
            let stopping = if stopping.is_some() { ", stopping" } else { "" };
            let paused = if observed.paused { " (Paused)" } else { "" };
            format!("Up {}{verdict}{paused}{stopping}", ago(now, *started))
        }
        State::Exited { exit, finished, .. } => {
            let ago = ago(now, *finished);
            match Ending::from(*exit) {
                Ending::Unknown => format!("Exited (unknown) {ago} ago"),
                // Those who have asked for it know why.
                _ if exit.requested => format!("Exited ({}) {ago} ago", exit.shell_code()),
                Ending::Exited { .. } => format!("Exited ({}) {ago} ago", exit.shell_code()),
                ending => format!("Exited ({}) {ago} ago: {ending}", exit.shell_code()),
            }
        }
    }
}

/// The time since, in one unit.
fn ago(now: Now, then: Now) -> String {
    output::roughly(now.since(then).0 / 1000)
}

fn health(health: &Health) -> Option<&'static str> {
    match health {
        Health::None => None,
        Health::Starting => Some("starting"),
        Health::Healthy => Some("healthy"),
        Health::Unhealthy { .. } => Some("unhealthy"),
    }
}

/// Nothing leads to a container that does not run.
fn ports(observed: &ObservedContainer) -> String {
    if !observed.is_running() {
        return String::new();
    }
    let shown = |port: &PublishedPort| {
        let host = port.host_ip.map_or_else(|| "0.0.0.0".to_owned(), |ip| ip.to_string());
        format!("{host}:{}->{}/{}", port.host_port, port.target, port.protocol)
    };
    observed.container.ports.iter().map(shown).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use stack_model::Exit;

    use super::*;

    fn observed(state: State, health: Health) -> ObservedContainer {
        let container = serde_json::json!({
            "schema": 1, "id": "0011223344556677", "name": "shop-web-1", "service": "web", "index": 1,
            "spec": { "image": "nginx:1.29", "network": "none", "stop_grace": 10_000 },
            "restart_request": 0, "image": "sha256:0", "layers": [],
            "process": { "argv": ["nginx", "-g", "daemon off;"], "env": [], "cwd": "/", "user": "", "hostname": "web",
                         "stop_signal": 15 },
            "mounts": [], "endpoints": [], "created": 1_000,
            "ports": [{ "protocol": "tcp", "host_ip": null, "host_port": 8080, "address": "10.89.0.2", "target": 80 }],
        });
        ObservedContainer {
            container: serde_json::from_value(container).unwrap(),
            state,
            health,
            attached: true,
            paused: false,
            hooks: stack_model::Hooks::default(),
        }
    }

    fn shown(options: &str, containers: &[&ObservedContainer]) -> String {
        #[derive(clap::Parser)]
        struct Line {
            #[command(flatten)]
            args: PsArgs,
        }
        let words = std::iter::once("ps").chain(options.split_ascii_whitespace());
        let line = <Line as clap::Parser>::parse_from(words);
        render(&line.args, containers, Now(190_000))
    }

    #[test]
    fn columns_are_those_of_docker_compose() {
        let up = observed(State::Running { pid: 7, started: Now(2_000), stopping: None }, Health::Healthy);
        let exit = Exit { signal: Some(9), out_of_memory: true, ..Exit::default() };
        let dead = observed(State::Exited { exit, started: Now(2_000), finished: Now(189_000) }, Health::None);
        insta::assert_snapshot!(shown("", &[&up, &dead]), @r#"
        NAME         IMAGE        COMMAND                  SERVICE   CREATED         STATUS                                                               PORTS
        shop-web-1   nginx:1.29   "nginx -g daemon off;"   web       3 minutes ago   Up 3 minutes (healthy)                                               0.0.0.0:8080->80/tcp
        shop-web-1   nginx:1.29   "nginx -g daemon off;"   web       3 minutes ago   Exited (137) 1 second ago: out of memory: the kernel has killed it
        "#);
        assert_eq!(shown("-q", &[&up]), "0011223344556677\n");
        assert_eq!(shown("--services", &[&up, &dead]), "web\n");
        let json: serde_json::Value = serde_json::from_str(&shown("--format json", &[&dead])).unwrap();
        assert_eq!((&json["State"], &json["ExitCode"]), (&"exited".into(), &137.into()));
    }

    #[test]
    fn long_commands_are_cut() {
        assert_eq!(command(&["/stack".to_owned(), "demo".to_owned()], false), "\"/stack demo\"");
        assert_eq!(command(&["a".repeat(40)], true), format!("\"{}\"", "a".repeat(40)));
        assert_eq!(command(&["a".repeat(40)], false), format!("\"{}…\"", "a".repeat(21)));
    }
}
