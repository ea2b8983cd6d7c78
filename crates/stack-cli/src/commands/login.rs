//! `stack login`.

use std::io::{BufRead, IsTerminal};

use clap::Args;
use nix::sys::termios::{LocalFlags, SetArg, tcgetattr, tcsetattr};

use crate::context::Context;
use crate::error::CliError;
use crate::output;

/// Options of `login`.
#[derive(Debug, Args)]
pub(crate) struct LoginArgs {
    /// The user
    #[arg(short, long)]
    username: Option<String>,
    /// Read the password from standard input
    #[arg(long)]
    password_stdin: bool,
    /// Host and port; Docker Hub by default
    #[arg(default_value = "docker.io")]
    registry: String,
}

pub(crate) fn run(_context: &Context, args: &LoginArgs) -> Result<u8, CliError> {
    let user = match &args.username {
        Some(user) => user.clone(),
        None if args.password_stdin => return Err(CliError::user("--password-stdin needs --username")),
        None => ask("Username", true)?,
    };
    let password = if args.password_stdin { line()? } else { ask("Password", false)? };
    let file = super::runtime()?.block_on(stack_image::login(&args.registry, &user, &password));
    let file = file.map_err(super::image_failed)?;
    output::note(&format!("logged in to {}; the password is kept in {}", args.registry, file.display()));
    Ok(0)
}

fn ask(what: &str, echo: bool) -> Result<String, CliError> {
    let input = std::io::stdin();
    if !input.is_terminal() {
        return Err(CliError::user("there is no terminal to ask on: use --username and --password-stdin"));
    }
    output::note(&format!("{what}:"));
    if echo {
        return line();
    }
    let failed = |errno: nix::errno::Errno| CliError::io("cannot set up the terminal", &errno.into());
    let before = tcgetattr(&input).map_err(failed)?;
    let mut silent = before.clone();
    silent.local_flags.remove(LocalFlags::ECHO);
    tcsetattr(&input, SetArg::TCSAFLUSH, &silent).map_err(failed)?;
    let text = line();
    tcsetattr(&input, SetArg::TCSAFLUSH, &before).map_err(failed)?;
    text
}

fn line() -> Result<String, CliError> {
    let mut text = String::new();
    std::io::stdin().lock().read_line(&mut text).map_err(|error| CliError::io("cannot read the password", &error))?;
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}
