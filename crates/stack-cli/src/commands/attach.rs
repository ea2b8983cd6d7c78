//! `stack attach`.

use clap::Args;
use stack_runtime::{AttachOptions, Attachment, End};

use super::targets;
use super::wait::Exits;
use crate::context::Context;
use crate::error::CliError;
use crate::output;

/// Options of `attach`.
#[derive(Debug, Args)]
pub(crate) struct AttachArgs {
    /// Keys that, typed in a row, leave the container running
    #[arg(long, value_name = "KEYS", default_value = "ctrl-p,ctrl-q", value_parser = detach_keys)]
    detach_keys: DetachKeys,
    /// To this container of the service
    #[arg(long, value_name = "NUMBER")]
    index: Option<u32>,
    /// Only show; what is typed is not passed on
    #[arg(long)]
    no_stdin: bool,
    /// Pass signals on to the container
    #[arg(long, value_name = "BOOL", default_value_t = true, num_args = 0..=1, require_equals = true, default_missing_value = "true", action = clap::ArgAction::Set)]
    sig_proxy: bool,
    /// The service
    service: String,
}

/// Bytes that leave a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DetachKeys(pub(crate) Vec<u8>);

pub(crate) fn run(context: &Context, args: &AttachArgs) -> Result<u8, CliError> {
    let (project, container) = targets::running(context, &args.service, args.index)?;
    targets::require_awake(&container)?;
    // A supervisor has to run: it moves what the container writes.
    let mut exits = Exits::follow(context, &project)?;
    let options = AttachOptions {
        input: !args.no_stdin,
        signals: args.sig_proxy,
        detach_keys: args.detach_keys.0.clone(),
        ..AttachOptions::default()
    };
    let place = (context.machine.layout(), &project, &container.container);
    let id = container.container.id.clone();
    let failed = |error: stack_runtime::RuntimeError| super::failed(error.fault(), error.hint(), &error);
    let mut attachment = Attachment::open(place, &options).map_err(failed)?;
    match attachment.follow().map_err(failed)? {
        End::Detached => {
            drop(attachment);
            output::note(&format!("left {} running", container.container.name));
            Ok(0)
        }
        End::Ended => {
            let (_, exit) = exits.next(|ended| *ended == id)?;
            attachment.show_all().map_err(failed)?;
            Ok(super::exit_code(exit))
        }
    }
}

/// Letters, and `ctrl-` with a letter or one of `@ [ \ ] ^ _`, separated by commas.
pub(crate) fn detach_keys(text: &str) -> Result<DetachKeys, String> {
    let keys = text.split(',').map(|key| match (key.strip_prefix("ctrl-"), key.as_bytes()) {
        (Some(key), _) => match key.as_bytes() {
            [letter] if letter.is_ascii_alphabetic() => Ok(letter.to_ascii_lowercase() - b'a' + 1),
            [sign @ (b'@' | b'[' | b'\\' | b']' | b'^' | b'_')] => Ok(sign - b'@'),
            _ => Err(format!("there is no key `ctrl-{key}`")),
        },
        (None, [byte]) => Ok(*byte),
        (None, _) => Err(format!("`{key}` is not a key; write letters and `ctrl-x`, separated by commas")),
    });
    if text.is_empty() { Ok(DetachKeys(Vec::new())) } else { keys.collect::<Result<_, _>>().map(DetachKeys) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_those_of_docker() {
        assert_eq!(detach_keys("ctrl-p,ctrl-q"), Ok(DetachKeys(vec![16, 17])));
        assert_eq!(detach_keys("a,ctrl-\\"), Ok(DetachKeys(vec![b'a', 28])));
        assert_eq!(detach_keys(""), Ok(DetachKeys(Vec::new())));
        assert!(detach_keys("ctrl-ü").is_err() && detach_keys("home").is_err());
    }
}
