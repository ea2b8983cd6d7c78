//! `stack build`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use clap::{Args, ValueEnum};
use stack_build::{
    BuildError, BuildEvent, BuildNetwork, BuildRequest, Builder, Dockerfile, NamedContext, SecretSource,
};

use crate::arguments::Progress;
use crate::context::Context;
use crate::error::CliError;
use crate::output;

/// Options of `build`.
#[derive(Debug, Args)]
pub(crate) struct BuildArgs {
    /// The Dockerfile; by default that of the context
    #[arg(short = 'f', long = "file", value_name = "FILE")]
    dockerfile: Option<PathBuf>,
    /// A name of the image; may be repeated
    #[arg(short, long, value_name = "NAME")]
    tag: Vec<String>,
    /// The stage to build; the last by default
    #[arg(long, value_name = "STAGE")]
    target: Option<String>,
    /// An argument; without a value that of the environment
    #[arg(long, value_name = "NAME[=VALUE]", value_parser = optional_pair)]
    build_arg: Vec<(String, Option<String>)>,
    /// A label of the image
    #[arg(long, value_name = "NAME=VALUE", value_parser = pair)]
    label: Vec<(String, String)>,
    /// Do every step, whatever was made before
    #[arg(long)]
    no_cache: bool,
    /// Ask the registry for newer base images
    #[arg(long)]
    pull: bool,
    /// An image of the store whose layers may serve as steps made before
    #[arg(long, value_name = "IMAGE")]
    cache_from: Vec<String>,
    /// Only the platform of this machine can be built
    #[arg(long, value_name = "OS/ARCH")]
    platform: Vec<String>,
    /// A secret: `id=ID,src=FILE` or `id=ID,env=NAME`
    #[arg(long, value_name = "SECRET", value_parser = secret)]
    secret: Vec<(String, SecretSource)>,
    /// An ssh agent: `default`, or `ID=SOCKET`
    #[arg(long, value_name = "AGENT")]
    ssh: Vec<String>,
    /// The network of RUN
    #[arg(long, value_enum, default_value_t = Network::Default)]
    network: Network,
    /// A line of /etc/hosts: `NAME:ADDRESS`
    #[arg(long, value_name = "NAME:ADDRESS", value_parser = host)]
    add_host: Vec<(String, String)>,
    /// Size of /dev/shm, such as 64m
    #[arg(long, value_name = "SIZE", value_parser = size)]
    shm_size: Option<u64>,
    /// A further context: `NAME=DIRECTORY` or `NAME=docker-image://IMAGE`
    #[arg(long, value_name = "NAME=CONTEXT", value_parser = pair)]
    build_context: Vec<(String, String)>,
    /// Only the image's id is said
    #[arg(short, long)]
    quiet: bool,
    /// The directory that COPY and ADD read
    #[arg(default_value = ".")]
    context: PathBuf,
}

/// The network of RUN.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Network {
    /// One that reaches the outside
    Default,
    /// Loopback only
    None,
    /// The host's own
    Host,
}

pub(crate) fn run(context: &Context, args: &BuildArgs) -> Result<u8, CliError> {
    let request = request(context, args)?;
    let program = std::env::current_exe().map_err(|error| CliError::io("cannot find this program", &error))?;
    // First of all: it wants the process to have one thread.
    let builder = Builder::start(context.machine.layout().clone(), &program).map_err(failed)?;
    let is_quiet = args.quiet || context.progress == Progress::Quiet;
    let lines = Lines::default();
    let built = builder.build(&request, &|event| {
        if !is_quiet {
            lines.show(event);
        }
    });
    let built = built.map_err(failed)?;
    if !is_quiet {
        let (steps, cached) = (built.steps, built.cached);
        output::note(&format!("built {}: {steps} steps, {cached} of them made before", built.id));
        built.names.iter().for_each(|name| output::note(&format!("named {name}")));
    }
    if args.quiet {
        output::line(built.id.as_str())?;
    }
    Ok(0)
}

fn failed(error: BuildError) -> CliError {
    match error {
        BuildError::Dockerfile(mistake) => {
            let stack_build::Mistake { diagnostic, texts, .. } = *mistake;
            CliError::Project { diagnostics: vec![diagnostic], texts }
        }
        error => super::failed(error.fault(), error.hint(), &error),
    }
}

fn request(context: &Context, args: &BuildArgs) -> Result<BuildRequest, CliError> {
    let source = &context.source;
    let here = &source.working_dir;
    let text = args.context.to_string_lossy();
    let is_remote = ["http://", "https://", "git://", "git@", "ssh://"].iter().any(|scheme| text.starts_with(scheme));
    if is_remote || text == "-" {
        return Err(CliError::user(format!("the context `{text}` is not supported: it must be a directory")));
    }
    // The Dockerfile of `-f` is relative to where the command was run.
    let dockerfile = args.dockerfile.as_ref().map(|file| here.join(file));
    let mut ssh = BTreeMap::new();
    for agent in &args.ssh {
        let (id, socket) = agent.split_once('=').unwrap_or((agent, ""));
        let own = || source.environment.get("SSH_AUTH_SOCK").cloned();
        let socket = Some(socket.to_owned()).filter(|socket| !socket.is_empty()).or_else(own);
        let Some(socket) = socket else {
            return Err(CliError::user(format!("--ssh {agent}: no agent runs (SSH_AUTH_SOCK is not set)")));
        };
        ssh.insert(id.to_owned(), here.join(socket));
    }
    let absolute = |secret: &SecretSource| match secret {
        SecretSource::File(path) => SecretSource::File(here.join(path)),
        SecretSource::Variable(name) => SecretSource::Variable(name.clone()),
    };
    Ok(BuildRequest {
        context: here.join(&args.context),
        dockerfile: dockerfile.map_or_else(Dockerfile::default, Dockerfile::File),
        args: args.build_arg.iter().cloned().collect(),
        target: args.target.clone(),
        tags: args.tag.clone(),
        labels: args.label.iter().cloned().collect(),
        no_cache: args.no_cache,
        pull: args.pull,
        cache_from: args.cache_from.clone(),
        platforms: args.platform.clone(),
        secrets: args.secret.iter().map(|(id, secret)| (id.clone(), absolute(secret))).collect(),
        ssh,
        network: match args.network {
            Network::Default => BuildNetwork::Default,
            Network::None => BuildNetwork::None,
            Network::Host => BuildNetwork::Host,
        },
        extra_hosts: args.add_host.clone(),
        shm_size: args.shm_size,
        contexts: args.build_context.iter().map(|(name, value)| (name.clone(), named(here, value))).collect(),
        source_date_epoch: epoch(&source.environment)?,
        environment: source.environment.clone(),
    })
}

fn named(here: &Path, value: &str) -> NamedContext {
    match value.strip_prefix("docker-image://") {
        Some(image) => NamedContext::Image(image.to_owned()),
        None => NamedContext::Directory(here.join(value)),
    }
}

/// `SOURCE_DATE_EPOCH` (reproducible-builds.org).
fn epoch(environment: &BTreeMap<String, String>) -> Result<Option<i64>, CliError> {
    let Some(text) = environment.get("SOURCE_DATE_EPOCH").filter(|text| !text.is_empty()) else { return Ok(None) };
    let wrong = |_| CliError::user(format!("SOURCE_DATE_EPOCH is `{text}`, which is not a number of seconds"));
    text.parse().map(Some).map_err(wrong)
}

fn pair(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("expected NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

fn optional_pair(text: &str) -> Result<(String, Option<String>), String> {
    Ok(match text.split_once('=') {
        Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
        None => (text.to_owned(), None),
    })
}

fn host(text: &str) -> Result<(String, String), String> {
    let (name, address) = text.split_once(['=', ':']).ok_or("expected NAME:ADDRESS")?;
    let address = address.trim_matches(['[', ']']);
    let is_address = address == "host-gateway" || address.parse::<std::net::IpAddr>().is_ok();
    if is_address { Ok((name.to_owned(), address.to_owned())) } else { Err(format!("`{address}` is not an address")) }
}

fn size(text: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let factor: u64 = match text[digits.len()..].to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kb" => 1 << 10,
        "m" | "mb" => 1 << 20,
        "g" | "gb" => 1 << 30,
        unit => return Err(format!("`{unit}` is not a unit")),
    };
    let number: u64 = digits.parse().map_err(|_| format!("`{text}` is not a size"))?;
    number.checked_mul(factor).ok_or_else(|| format!("`{text}` is too large"))
}

fn secret(text: &str) -> Result<(String, SecretSource), String> {
    let (mut id, mut file, mut variable) = (None, None, None);
    for field in text.split(',') {
        match field.split_once('=') {
            Some(("id", value)) => id = Some(value.to_owned()),
            Some(("src" | "source", value)) => file = Some(PathBuf::from(value)),
            Some(("env", value)) => variable = Some(value.to_owned()),
            Some(("type", "file" | "env")) => {}
            _ => return Err(format!("`{field}` is not id=…, src=… or env=…")),
        }
    }
    let id = id.ok_or("the secret has no id")?;
    let source = match (file, variable) {
        (Some(file), None) => SecretSource::File(file),
        (None, Some(name)) => SecretSource::Variable(name),
        // As docker does: the variable of that name.
        (None, None) => SecretSource::Variable(id.clone()),
        (Some(_), Some(_)) => return Err("a secret comes from src or from env, not from both".to_owned()),
    };
    Ok((id, source))
}

/// Progress in lines, each with its stage; several stages write at the same time.
#[derive(Default)]
struct Lines(Mutex<()>);

/// What is shown of an instruction.
const TEXT_CHARS_MAX: usize = 100;

impl Lines {
    fn show(&self, event: BuildEvent) {
        let head = |step: &stack_build::StepId| format!("[{} {}/{}]", step.name, step.number, step.total);
        let text = match event {
            BuildEvent::Started { step, text } => {
                let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
                let cut = text.char_indices().nth(TEXT_CHARS_MAX).map(|(index, _)| index);
                let (text, dots) = cut.map_or((text.as_str(), ""), |index| (&text[..index], "…"));
                format!("{} {text}{dots}", head(&step))
            }
            BuildEvent::Output { step, line } => format!("{}   {line}", head(&step)),
            BuildEvent::Done { step, cached: true, .. } if step.number > 1 => format!("{} done before", head(&step)),
            BuildEvent::Done { step, milliseconds, .. } => {
                format!("{} done in {}.{} s", head(&step), milliseconds / 1000, milliseconds / 100 % 10)
            }
            BuildEvent::Failed { step } => format!("{} failed", head(&step)),
        };
        let _turn = self.0.lock();
        output::note(&text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_options() {
        assert_eq!(secret("id=a,src=b"), Ok(("a".to_owned(), SecretSource::File("b".into()))));
        assert_eq!(secret("id=a,env=B"), Ok(("a".to_owned(), SecretSource::Variable("B".to_owned()))));
        assert_eq!(secret("id=a"), Ok(("a".to_owned(), SecretSource::Variable("a".to_owned()))));
        assert!(secret("src=b").is_err() && secret("id=a,what=b").is_err() && secret("id=a,src=b,env=c").is_err());
        assert_eq!(host("db:10.0.0.1"), Ok(("db".to_owned(), "10.0.0.1".to_owned())));
        assert_eq!(host("six=[::1]"), Ok(("six".to_owned(), "::1".to_owned())));
        assert!(host("db").is_err() && host("db:x").is_err());
        assert_eq!((size("64m"), size("1")), (Ok(64 << 20), Ok(1)));
        assert!(size("m").is_err() && size("1x").is_err());
        assert_eq!(epoch(&[("SOURCE_DATE_EPOCH".to_owned(), "5".to_owned())].into()).unwrap_or_default(), Some(5));
    }
}
