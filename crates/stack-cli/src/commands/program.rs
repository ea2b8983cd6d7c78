//! How a program is run in a container: what `exec` and `run` have in common.

use std::io::IsTerminal;

use clap::Args;

use crate::context::Context;

/// Options about a program.
#[derive(Debug, Args)]
pub(super) struct ProgramArgs {
    /// Accepted for docker: input is always connected
    #[arg(short, long)]
    interactive: bool,
    /// With a terminal, even where this command has none
    #[arg(short, long)]
    tty: bool,
    /// Without a terminal
    #[arg(short = 'T', long = "no-tty", conflicts_with = "tty")]
    no_tty: bool,
    /// As this user
    #[arg(short, long, value_name = "USER")]
    pub(super) user: Option<String>,
    /// In this directory
    #[arg(short, long, value_name = "DIR")]
    pub(super) workdir: Option<String>,
    /// With this variable; may be repeated
    #[arg(short, long, value_name = "NAME=VALUE")]
    env: Vec<String>,
}

impl ProgramArgs {
    /// Whether it gets a terminal: where it is asked for, or where this command has one.
    pub(super) fn has_terminal(&self) -> bool {
        !self.no_tty && (self.tty || std::io::stdin().is_terminal() && std::io::stdout().is_terminal())
    }

    /// `NAME=VALUE`, or `NAME` with the value it has here.
    pub(super) fn variables<'a>(&'a self, context: &'a Context) -> impl Iterator<Item = (String, String)> + 'a {
        self.env.iter().filter_map(|text| match text.split_once('=') {
            Some((name, value)) => Some((name.to_owned(), value.to_owned())),
            None => Some((text.clone(), context.source.environment.get(text)?.clone())),
        })
    }
}
