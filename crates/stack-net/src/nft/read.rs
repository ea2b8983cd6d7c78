//! What the kernel tells about a table (linux/netfilter/nf_tables.h).

use std::collections::BTreeMap;
use std::io::ErrorKind;

use netlink_packet_netfilter::nftables::{
    ChainMessage, GenMessage, NfTablesMessage, RuleAttribute, RuleMessage, SetAttribute, SetElementList,
    SetElementMessage, SetMessage, TableAttribute, TableMessage,
};

use super::attribute::{Attributes, Raw};
use super::message::{EXPRESSIONS, POLICY_ACCEPT, USERDATA_COMMENT, request};
use super::table::{Chain, Hook, Map, Rule, Table};
use crate::wire::{Wire, WireError};

/// `NFTA_*_TABLE`, the same for chains, rules and sets.
const TABLE: u16 = 1;
/// `NFTA_LIST_ELEM`.
const ELEMENT: u16 = 1;
/// `NFTA_DATA_VALUE`.
const VALUE: u16 = 1;

/// The number that grows with every change of any rule in the namespace.
pub(super) fn generation(wire: &mut Wire) -> Result<Option<u32>, WireError> {
    const GENERATION: u16 = 1;
    let message = NfTablesMessage::GetGen(GenMessage { attributes: Vec::new() });
    let replies: Vec<Raw> = wire.query(request(message, 0))?;
    Ok(replies.first().and_then(|reply| reply.attributes().number(GENERATION)))
}

/// Reads a table with everything in it; `None` if there is none.
pub(super) fn table(wire: &mut Wire, name: &str) -> Result<Option<Table>, WireError> {
    let attributes = vec![TableAttribute::Name(name.to_owned())];
    let found = wire.query(request(NfTablesMessage::GetTable(TableMessage { attributes }), 0));
    match found {
        Err(WireError::Refused { source, .. }) if source.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
        Ok(replies) => drop::<Vec<Raw>>(replies),
    }
    let mut table = Table { name: name.to_owned(), maps: maps(wire, name)?, chains: chains(wire, name)? };
    let attributes = vec![RuleAttribute::Table(name.to_owned())];
    for message in dump(wire, name, NfTablesMessage::GetRule(RuleMessage { attributes }))? {
        take_rule(&mut table, message.attributes());
    }
    Ok(Some(table))
}

/// Asks for a list and keeps what belongs to a table: not every kind of list can be narrowed by the kernel.
fn dump(wire: &mut Wire, table: &str, message: NfTablesMessage) -> Result<Vec<Raw>, WireError> {
    let mut replies: Vec<Raw> = wire.dump(request(message, 0))?;
    replies.retain(|reply| reply.attributes().text(TABLE).as_deref() == Some(table));
    Ok(replies)
}

fn take_rule(table: &mut Table, rule: Attributes<'_>) {
    const CHAIN: u16 = 2;
    const USERDATA: u16 = 7;
    let chain = rule.text(CHAIN);
    if let Some(chain) = table.chains.iter_mut().find(|other| Some(&other.name) == chain.as_ref()) {
        let expressions = rule.value(EXPRESSIONS).unwrap_or_default().to_vec();
        chain.rules.push(Rule { expressions, comment: rule.value(USERDATA).and_then(comment) });
    }
}

fn comment(userdata: &[u8]) -> Option<String> {
    let [USERDATA_COMMENT, _, text @ .., 0] = userdata else { return None };
    Some(String::from_utf8_lossy(text).into_owned())
}

fn chains(wire: &mut Wire, table: &str) -> Result<Vec<Chain>, WireError> {
    let message = NfTablesMessage::GetChain(ChainMessage { attributes: Vec::new() });
    Ok(dump(wire, table, message)?.iter().map(|message| chain(message.attributes())).collect())
}

fn chain(chain: Attributes<'_>) -> Chain {
    const NAME: u16 = 3;
    const HOOK: u16 = 4;
    const POLICY: u16 = 5;
    const KIND: u16 = 7;
    const NUMBER: u16 = 1;
    const PRIORITY: u16 = 2;
    let hook = chain.inside(HOOK).and_then(|place| {
        let mut kind = chain.text(KIND)?;
        if chain.number(POLICY) != Some(POLICY_ACCEPT) {
            // Another policy is a change like any other: it shows as a kind that is never rendered.
            kind.push_str(" with another policy");
        }
        Some(Hook { kind, number: place.number(NUMBER)?.into(), priority: place.number(PRIORITY)?.cast_signed() })
    });
    Chain { name: chain.text(NAME).unwrap_or_default(), hook, rules: Vec::new() }
}

fn maps(wire: &mut Wire, table: &str) -> Result<BTreeMap<String, Map>, WireError> {
    const NAME: u16 = 2;
    const KEY_TYPE: u16 = 4;
    const KEY_BYTES: u16 = 5;
    const VALUE_TYPE: u16 = 6;
    const VALUE_BYTES: u16 = 7;
    let attributes = vec![SetAttribute::Table(table.to_owned())];
    let mut maps = BTreeMap::new();
    for message in dump(wire, table, NfTablesMessage::GetSet(SetMessage { attributes }))? {
        let set = message.attributes();
        let name = set.text(NAME).unwrap_or_default();
        let number = |kind| set.number(kind).unwrap_or_default();
        let map = Map {
            key_type: number(KEY_TYPE),
            key_bytes: number(KEY_BYTES),
            value_type: number(VALUE_TYPE),
            value_bytes: number(VALUE_BYTES),
            elements: elements(wire, table, &name)?,
        };
        maps.insert(name, map);
    }
    Ok(maps)
}

fn elements(wire: &mut Wire, table: &str, map: &str) -> Result<BTreeMap<Vec<u8>, Vec<u8>>, WireError> {
    const ELEMENTS: u16 = 3;
    let attributes = vec![SetElementList::Table(table.to_owned()), SetElementList::Set(map.to_owned())];
    let message = NfTablesMessage::GetSetElement(SetElementMessage { attributes });
    let mut elements = BTreeMap::new();
    for message in dump(wire, table, message)? {
        let Some(list) = message.attributes().inside(ELEMENTS) else { continue };
        let found = list.iter().filter(|attribute| attribute.kind == ELEMENT);
        elements.extend(found.map(|attribute| element(Attributes(attribute.value))));
    }
    Ok(elements)
}

/// An element that cannot be read gets an empty key, which no map of ours holds.
fn element(element: Attributes<'_>) -> (Vec<u8>, Vec<u8>) {
    const KEY: u16 = 1;
    const DATA: u16 = 2;
    let bytes = |kind| element.inside(kind).and_then(|data| data.value(VALUE)).unwrap_or_default().to_vec();
    (bytes(KEY), bytes(DATA))
}
