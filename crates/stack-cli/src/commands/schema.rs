//! `stack schema`.

use crate::error::CliError;
use crate::output;

pub(crate) fn run() -> Result<u8, CliError> {
    output::line(&format!("{:#}", stack_compose::schema()))?;
    Ok(0)
}
