//! A build as `docker build` has it: a directory and options.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use stack_model::{Build, BuildNetwork, Dockerfile, NamedContext, SecretSource};

use super::{BuildArgs, Network};
use crate::context::Context;
use crate::error::CliError;

pub(super) fn request(context: &Context, args: &BuildArgs, directory: &str) -> Result<Build, CliError> {
    let source = &context.source;
    let here = &source.working_dir;
    let is_remote =
        ["http://", "https://", "git://", "git@", "ssh://"].iter().any(|scheme| directory.starts_with(scheme));
    if is_remote || directory == "-" {
        return Err(CliError::user(format!("the context `{directory}` is not supported: it must be a directory")));
    }
    // The Dockerfile of `-f` is relative to where the command was run.
    let dockerfile = args.dockerfile.as_ref().map(|file| here.join(file));
    let absolute = |secret: &SecretSource| match secret {
        SecretSource::File(path) => SecretSource::File(here.join(path)),
        SecretSource::Variable(name) => SecretSource::Variable(name.clone()),
    };
    Ok(Build {
        context: here.join(directory).components().collect(),
        dockerfile: dockerfile.map_or_else(Dockerfile::default, Dockerfile::File),
        args: args.build_arg.iter().cloned().collect(),
        target: args.target.clone(),
        tags: args.tag.clone(),
        labels: args.label.iter().cloned().collect(),
        no_cache: args.no_cache,
        no_cache_filter: args.no_cache_filter.clone(),
        pull: args.pull,
        cache_from: args.cache_from.clone(),
        platforms: args.platform.clone(),
        secrets: args.secret.iter().map(|(id, secret)| (id.clone(), absolute(secret))).collect(),
        ssh: agents(context, args)?,
        network: match args.network {
            Network::Default => BuildNetwork::Default,
            Network::None => BuildNetwork::None,
            Network::Host => BuildNetwork::Host,
        },
        extra_hosts: args.add_host.clone(),
        shm_size: args.shm_size,
        ulimits: BTreeMap::new(),
        contexts: args.build_context.iter().map(|(name, value)| (name.clone(), named(here, value))).collect(),
    })
}

/// Sockets of `--ssh`, by id.
pub(super) fn agents(context: &Context, args: &BuildArgs) -> Result<BTreeMap<String, PathBuf>, CliError> {
    let mut agents = BTreeMap::new();
    for agent in &args.ssh {
        let (id, socket) = agent.split_once('=').unwrap_or((agent, ""));
        let own = || context.source.environment.get("SSH_AUTH_SOCK").cloned();
        let socket = Some(socket.to_owned()).filter(|socket| !socket.is_empty()).or_else(own);
        let Some(socket) = socket else {
            return Err(CliError::user(format!("--ssh {agent}: no agent runs (SSH_AUTH_SOCK is not set)")));
        };
        agents.insert(id.to_owned(), context.source.working_dir.join(socket));
    }
    Ok(agents)
}

fn named(here: &Path, value: &str) -> NamedContext {
    match value.strip_prefix("docker-image://") {
        Some(image) => NamedContext::Image(image.to_owned()),
        None => NamedContext::Directory(here.join(value)),
    }
}
