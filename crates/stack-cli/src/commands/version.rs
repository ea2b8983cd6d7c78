//! `stack version`.

use crate::error::CliError;
use crate::output;

pub(crate) fn run() -> Result<u8, CliError> {
    output::line(&format!("stack version {}", env!("CARGO_PKG_VERSION")))?;
    Ok(0)
}
