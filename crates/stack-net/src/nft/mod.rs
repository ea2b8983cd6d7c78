//! The project's nftables table: one for all of it, rendered whole, swapped in one transaction, read back and compared.
//! Other tables are never touched.
//!
//! [`render`] says what the rules are, [`table`](Table) what a table is, `expression` how the kernel spells a match,
//! `message` how a table is written, `read` how it is read, `decode` how a table says what rule set it was made from.

mod attribute;
mod decode;
mod expression;
mod flows;
mod message;
mod read;
mod render;
mod table;

use netlink_packet_core::NetlinkMessage;
use netlink_packet_netfilter::NetfilterMessage;
use netlink_sys::protocols::NETLINK_NETFILTER;
use stack_model::{ProjectName, Ruleset};

use crate::error::NetError;
use crate::wire::{Wire, WireError};

pub use render::render;
pub use table::{Chain, Hook, Map, Rule, Table};

/// Longest name that fits into the comment of a rule beside the rest (`NFT_USERDATA_MAXLEN`).
const NETWORK_NAME_BYTES_MAX: usize = 180;
/// Attempts to read the table between two changes of anybody's rules.
const READ_TRIES: usize = 8;

/// The name of a project's table.
pub fn table_name(instance: &str, project: &ProjectName) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || c == '-' || c == '_' { c } else { '.' };
    format!("stack_{instance}_{project}").chars().map(plain).collect()
}

/// The requests that make the kernel hold exactly this table and nothing older under its name, or nothing at all:
/// one transaction, to be sent in one datagram.
fn transaction(table: &str, ruleset: &Ruleset) -> Vec<NetlinkMessage<NetfilterMessage>> {
    // Deleting a table that is absent is an error, so it is made first.
    let mut requests = vec![message::new_table(table), message::delete_table(table)];
    if !ruleset.is_empty() {
        requests.extend(message::table(&render(ruleset, table)));
    }
    message::batch(requests)
}

/// Opens a socket of the packet filter of the calling thread's network namespace; `table` is for the error.
pub(crate) fn open(table: &str) -> Result<Wire, NetError> {
    let wire = Wire::open(NETLINK_NETFILTER).map_err(|source| NetError::Ruleset {
        table: table.to_owned(),
        step: "open a socket for",
        source,
    })?;
    wire.widen();
    Ok(wire)
}

/// Swaps the table.
pub(crate) fn apply(wire: &mut Wire, table: &str, ruleset: &Ruleset) -> Result<(), NetError> {
    if let Some(network) = ruleset.networks.keys().find(|name| name.as_str().len() > NETWORK_NAME_BYTES_MAX) {
        return Err(NetError::NameTooLong { network: network.clone() });
    }
    let failed = |source| NetError::Ruleset { table: table.to_owned(), step: "write", source };
    let messages = transaction(table, ruleset);
    // The end of the batch is not acknowledged: the last request before it is.
    let last = messages.len() - 2;
    wire.transact(messages, last).map_err(failed)?;
    // The rules hold either way: where the kernel cannot list connections, stale ones end after three silent minutes.
    drop(flows::end_stale(wire, ruleset));
    Ok(())
}

/// Reads the table back.
pub(crate) fn observe(wire: &mut Wire, table: &str) -> Result<Option<Ruleset>, NetError> {
    let failed = |source| NetError::Ruleset { table: table.to_owned(), step: "read", source };
    for _ in 0..READ_TRIES {
        let before = read::generation(wire).map_err(failed)?;
        let found = match read::table(wire, table) {
            // Something of the table went away between two requests.
            Err(WireError::Refused { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => None,
            other => other.map_err(failed)?,
        };
        if read::generation(wire).map_err(failed)? == before {
            return Ok(found.and_then(|found| confirm(&found)));
        }
    }
    Err(failed(WireError::Interrupted))
}

/// The rule set that a table was rendered from, if the table is exactly that rendering.
fn confirm(found: &Table) -> Option<Ruleset> {
    let ruleset = decode::decode(found)?;
    render(&ruleset, &found.name).is_held_by(found).then_some(ruleset)
}
