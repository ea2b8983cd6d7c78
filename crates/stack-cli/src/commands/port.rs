//! `stack port`.

use clap::Args;
use stack_model::{Failure, Fault, Protocol};

use super::targets;
use crate::context::Context;
use crate::error::CliError;
use crate::output;

/// Options of `port`.
#[derive(Debug, Args)]
pub(crate) struct PortArgs {
    /// tcp, udp or sctp
    #[arg(long, value_name = "PROTOCOL", default_value = "tcp", value_parser = ["tcp", "udp", "sctp"])]
    protocol: String,
    /// Of this container of the service
    #[arg(long, value_name = "NUMBER")]
    index: Option<u32>,
    /// The service
    service: String,
    /// The port inside; `80/udp` names the protocol too
    #[arg(value_name = "PRIVATE_PORT")]
    port: String,
}

pub(crate) fn run(context: &Context, args: &PortArgs) -> Result<u8, CliError> {
    let (number, protocol) = args.port.split_once('/').unwrap_or((&args.port, &args.protocol));
    let number: u16 = number.parse().map_err(|_| CliError::user(format!("`{number}` is not a port")))?;
    let wanted = Protocol::named(protocol).unwrap_or(Protocol::Tcp);
    let (_, container) = targets::running(context, &args.service, args.index)?;
    let mut ports = container.container.ports.iter().filter(|port| port.target == number && port.protocol == wanted);
    let Some(port) = ports.next() else {
        let text = format!("no port {number}/{protocol} for container {}", container.container.name);
        return Err(Failure::new(Fault::Missing, text).hint("`stack ps` shows what is published").into());
    };
    let host = port.host_ip.map_or_else(|| "0.0.0.0".to_owned(), |ip| ip.to_string());
    output::line(&format!("{host}:{}", port.host_port)).map(|()| 0)
}
