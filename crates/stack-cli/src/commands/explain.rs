//! `stack explain`.

use clap::Args;

use crate::error::CliError;
use crate::output;

/// Options of `explain`.
#[derive(Debug, Args)]
pub(crate) struct ExplainArgs {
    /// The code of a message, as it stands in brackets behind `error` or `warning`; all of them by default
    code: Option<String>,
}

pub(crate) fn run(args: &ExplainArgs) -> Result<u8, CliError> {
    let Some(code) = &args.code else {
        let codes = stack_compose::codes().into_iter();
        let lines: String = codes.map(|(code, text)| format!("{code:24} {}\n", first_sentence(text))).collect();
        output::result(lines.as_bytes())?;
        return Ok(0);
    };
    match stack_compose::explain(code) {
        Some(text) => {
            output::line(text)?;
            Ok(0)
        }
        None => Err(CliError::user(format!("there is no code `{code}`; `stack explain` lists them"))),
    }
}

fn first_sentence(text: &str) -> &str {
    text.split_once(". ").map_or(text, |(first, _)| first).trim_end_matches('.')
}
