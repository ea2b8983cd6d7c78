//! A table on the wire: requests that make it, answers that describe it.

use std::collections::BTreeMap;

use netlink_packet_core::{NLM_F_APPEND, NLM_F_CREATE, NetlinkMessage};
use netlink_packet_netfilter::nftables::{
    ChainAttribute, ChainMessage, DataAttribute, ExpressionAttribute, Expressions, GenAttribute, GenMessage,
    Hook as HookAttribute, HookNumber, ListAttribute, NfTablesMessage, RuleAttribute, RuleMessage, SetAttribute,
    SetElementAttribute, SetElementList, SetElementMessage, SetFlags, SetMessage, TableAttribute, TableMessage,
};
use netlink_packet_netfilter::none::ControlMessage;
use netlink_packet_netfilter::{NetfilterHeader, NetfilterMessage, NetfilterMessageInner, NetfilterProtoFamily};

use super::table::{Chain, Hook, Map, Rule, Table};
use crate::wire::{Wire, WireError};

pub(super) type Message = NetlinkMessage<NetfilterMessage>;

/// Elements in one message: an attribute holds at most 64 KiB, and one element takes at most 68 bytes.
const ELEMENTS_MAX: usize = 512;
/// Batches name the subsystem that they are for (`NFNL_SUBSYS_NFTABLES`).
const SUBSYSTEM: u16 = 10;
const POLICY_ACCEPT: u32 = 1;
/// A comment in the private bytes of a rule, as the nft command writes it (`NFTNL_UDATA_RULE_COMMENT`).
const USERDATA_COMMENT: u8 = 0;

fn message(inner: impl Into<NetfilterMessageInner>, resource: u16, flags: u16) -> Message {
    let header = NetfilterHeader::new(NetfilterProtoFamily::Inet, 0, resource);
    let mut message = NetlinkMessage::from(NetfilterMessage::new(header, inner));
    message.header.flags = flags;
    message
}

fn request(inner: NfTablesMessage, flags: u16) -> Message {
    message(inner, 0, flags)
}

/// Makes one transaction of requests.
pub(super) fn batch(requests: Vec<Message>) -> Vec<Message> {
    let mut batch = vec![message(ControlMessage::BatchBegin, SUBSYSTEM, 0)];
    batch.extend(requests);
    batch.push(message(ControlMessage::BatchEnd, SUBSYSTEM, 0));
    batch
}

pub(super) fn new_table(name: &str) -> Message {
    let attributes = vec![TableAttribute::Name(name.to_owned())];
    request(NfTablesMessage::NewTable(TableMessage { attributes }), NLM_F_CREATE)
}

pub(super) fn delete_table(name: &str) -> Message {
    let attributes = vec![TableAttribute::Name(name.to_owned())];
    request(NfTablesMessage::DeleteTable(TableMessage { attributes }), 0)
}

/// The requests that make a table. What is referred to comes first.
pub(super) fn table(table: &Table) -> Vec<Message> {
    let name = &table.name;
    let mut requests = vec![new_table(name)];
    for (number, (map_name, map)) in table.maps.iter().enumerate() {
        requests.push(new_map(name, map_name, number as u32 + 1, map));
        let elements: Vec<_> = map.elements.iter().collect();
        requests.extend(elements.chunks(ELEMENTS_MAX).map(|chunk| new_elements(name, map_name, chunk)));
    }
    requests.extend(table.chains.iter().map(|chain| new_chain(name, chain)));
    for chain in &table.chains {
        requests.extend(chain.rules.iter().map(|rule| new_rule(name, &chain.name, rule)));
    }
    requests
}

fn new_map(table: &str, name: &str, id: u32, map: &Map) -> Message {
    let attributes = vec![
        SetAttribute::Table(table.to_owned()),
        SetAttribute::Name(name.to_owned()),
        // Without NFT_SET_CONCAT: the kernel wants that flag for intervals only.
        SetAttribute::Flags(SetFlags::Map),
        SetAttribute::KeyType(map.key_type),
        SetAttribute::KeyLen(map.key_bytes),
        SetAttribute::DataType(map.value_type),
        SetAttribute::DataLen(map.value_bytes),
        SetAttribute::Id(id),
    ];
    request(NfTablesMessage::NewSet(SetMessage { attributes }), NLM_F_CREATE)
}

fn new_elements(table: &str, map: &str, elements: &[(&Vec<u8>, &Vec<u8>)]) -> Message {
    let element = |(key, value): &(&Vec<u8>, &Vec<u8>)| {
        ListAttribute::Element(vec![
            SetElementAttribute::Key(DataAttribute::Value((*key).clone())),
            SetElementAttribute::Data(DataAttribute::Value((*value).clone())),
        ])
    };
    let attributes = vec![
        SetElementList::Table(table.to_owned()),
        SetElementList::Set(map.to_owned()),
        SetElementList::Elements(elements.iter().map(element).collect()),
    ];
    request(NfTablesMessage::NewSetElement(SetElementMessage { attributes }), NLM_F_CREATE)
}

fn new_chain(table: &str, chain: &Chain) -> Message {
    let mut attributes = vec![ChainAttribute::Table(table.to_owned()), ChainAttribute::Name(chain.name.clone())];
    if let Some(hook) = &chain.hook {
        let place = vec![
            HookAttribute::Number(HookNumber::Inet(hook.number)),
            HookAttribute::Priority(hook.priority.cast_unsigned()),
        ];
        attributes.extend([
            ChainAttribute::Hook(place),
            ChainAttribute::Policy(POLICY_ACCEPT),
            ChainAttribute::Type(hook.kind.clone()),
        ]);
    }
    request(NfTablesMessage::NewChain(ChainMessage { attributes }), NLM_F_CREATE)
}

fn new_rule(table: &str, chain: &str, rule: &Rule) -> Message {
    let expressions = rule.expressions.iter().cloned().map(ListAttribute::from).collect();
    let mut attributes = vec![
        RuleAttribute::Table(table.to_owned()),
        RuleAttribute::Chain(chain.to_owned()),
        RuleAttribute::Expressions(expressions),
    ];
    if let Some(comment) = &rule.comment {
        attributes.push(RuleAttribute::UserData(userdata(comment)));
    }
    request(NfTablesMessage::NewRule(RuleMessage { attributes }), NLM_F_CREATE | NLM_F_APPEND)
}

/// Type, length, text with its final zero.
fn userdata(comment: &str) -> Vec<u8> {
    let length = u8::try_from(comment.len() + 1).unwrap_or(u8::MAX);
    let mut bytes = vec![USERDATA_COMMENT, length];
    bytes.extend(comment.bytes().take(usize::from(length) - 1));
    bytes.push(0);
    bytes
}

fn comment(userdata: &[u8]) -> Option<String> {
    let [USERDATA_COMMENT, _, text @ .., 0] = userdata else { return None };
    Some(String::from_utf8_lossy(text).into_owned())
}

/// The number that grows with every change of any rule on the machine.
pub(super) fn read_generation(wire: &mut Wire) -> Result<Option<u32>, WireError> {
    let replies: Vec<NetfilterMessage> =
        wire.query(request(NfTablesMessage::GetGen(GenMessage { attributes: Vec::new() }), 0))?;
    Ok(inner(replies).find_map(|message| match message {
        NfTablesMessage::NewGen(generation) => generation.attributes.iter().find_map(|attribute| match attribute {
            GenAttribute::Id(id) => Some(*id),
            _ => None,
        }),
        _ => None,
    }))
}

/// Reads a table with everything in it; `None` if there is none.
pub(super) fn read_table(wire: &mut Wire, name: &str) -> Result<Option<Table>, WireError> {
    let attributes = vec![TableAttribute::Name(name.to_owned())];
    let found = wire.query::<NetfilterMessage>(request(NfTablesMessage::GetTable(TableMessage { attributes }), 0));
    match found {
        Err(WireError::Refused { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        other => drop(other?),
    }
    let mut table = Table { name: name.to_owned(), maps: read_maps(wire, name)?, chains: read_chains(wire, name)? };
    let rules = NfTablesMessage::GetRule(RuleMessage { attributes: vec![RuleAttribute::Table(name.to_owned())] });
    for message in inner(wire.dump(request(rules, 0))?) {
        if let NfTablesMessage::NewRule(rule) = message
            && rule.attributes.contains(&RuleAttribute::Table(name.to_owned()))
        {
            take_rule(&mut table, rule);
        }
    }
    Ok(Some(table))
}

fn inner(replies: Vec<NetfilterMessage>) -> impl Iterator<Item = NfTablesMessage> {
    replies.into_iter().filter_map(|reply| match reply.inner {
        NetfilterMessageInner::NfTables(message) => Some(message),
        _ => None,
    })
}

/// A rule that cannot be read becomes one without expressions, which equals no rule of ours.
fn take_rule(table: &mut Table, message: RuleMessage) {
    let (mut chain, mut rule) = (String::new(), Rule { expressions: Vec::new(), comment: None });
    for attribute in message.attributes {
        match attribute {
            RuleAttribute::Chain(name) => chain = name,
            RuleAttribute::Expressions(list) => rule.expressions = list.into_iter().filter_map(expression).collect(),
            RuleAttribute::UserData(bytes) => rule.comment = comment(&bytes),
            _ => {}
        }
    }
    if let Some(chain) = table.chains.iter_mut().find(|other| other.name == chain) {
        chain.rules.push(rule);
    }
}

fn expression(element: ListAttribute<ExpressionAttribute>) -> Option<Expressions> {
    let ListAttribute::Element(attributes) = element else { return None };
    let (mut name, mut body) = (String::new(), None);
    for attribute in attributes {
        match attribute {
            ExpressionAttribute::Name(found) => name = found,
            ExpressionAttribute::Data(found) => body = Some(found),
            _ => {}
        }
    }
    // An instruction without parameters, such as `masq`, may come without a body.
    Some(body.unwrap_or(Expressions::Other { expression_type: name, attributes: Vec::new() }))
}

fn read_chains(wire: &mut Wire, table: &str) -> Result<Vec<Chain>, WireError> {
    let request = request(NfTablesMessage::GetChain(ChainMessage { attributes: Vec::new() }), 0);
    let replies = inner(wire.dump(request)?);
    Ok(replies
        .filter_map(|message| match message {
            NfTablesMessage::NewChain(chain) if chain.attributes.contains(&ChainAttribute::Table(table.to_owned())) => {
                Some(take_chain(chain))
            }
            _ => None,
        })
        .collect())
}

fn take_chain(message: ChainMessage) -> Chain {
    let (mut name, mut kind, mut place, mut accepts) = (String::new(), String::new(), None, true);
    for attribute in message.attributes {
        match attribute {
            ChainAttribute::Name(found) => name = found,
            ChainAttribute::Type(found) => kind = found,
            ChainAttribute::Hook(found) => place = Some(found),
            ChainAttribute::Policy(policy) => accepts = policy == POLICY_ACCEPT,
            _ => {}
        }
    }
    // Another policy is a change like any other: it shows as a kind that we never render.
    let kind = if accepts { kind } else { format!("{kind} policy drop") };
    let hook = place.and_then(|place| take_hook(kind, &place));
    Chain { name, hook, rules: Vec::new() }
}

fn take_hook(kind: String, place: &[HookAttribute]) -> Option<Hook> {
    let (mut number, mut priority) = (None, None);
    for attribute in place {
        match attribute {
            HookAttribute::Number(HookNumber::Inet(found)) => number = Some(*found),
            HookAttribute::Priority(found) => priority = Some(found.cast_signed()),
            _ => {}
        }
    }
    Some(Hook { kind, number: number?, priority: priority? })
}

fn read_maps(wire: &mut Wire, table: &str) -> Result<BTreeMap<String, Map>, WireError> {
    let attributes = vec![SetAttribute::Table(table.to_owned())];
    let replies: Vec<_> = inner(wire.dump(request(NfTablesMessage::GetSet(SetMessage { attributes }), 0))?).collect();
    let mut maps = BTreeMap::new();
    for message in replies {
        if let NfTablesMessage::NewSet(set) = message
            && set.attributes.contains(&SetAttribute::Table(table.to_owned()))
        {
            let (name, mut map) = take_map(&set);
            map.elements = read_elements(wire, table, &name)?;
            maps.insert(name, map);
        }
    }
    Ok(maps)
}

fn take_map(message: &SetMessage) -> (String, Map) {
    let (mut name, elements) = (String::new(), BTreeMap::new());
    let mut map = Map { key_type: 0, key_bytes: 0, value_type: 0, value_bytes: 0, elements };
    for attribute in &message.attributes {
        match attribute {
            SetAttribute::Name(found) => name.clone_from(found),
            SetAttribute::KeyType(found) => map.key_type = *found,
            SetAttribute::KeyLen(found) => map.key_bytes = *found,
            SetAttribute::DataType(found) => map.value_type = *found,
            SetAttribute::DataLen(found) => map.value_bytes = *found,
            _ => {}
        }
    }
    (name, map)
}

fn read_elements(wire: &mut Wire, table: &str, map: &str) -> Result<BTreeMap<Vec<u8>, Vec<u8>>, WireError> {
    let attributes = vec![SetElementList::Table(table.to_owned()), SetElementList::Set(map.to_owned())];
    let request = request(NfTablesMessage::GetSetElement(SetElementMessage { attributes }), 0);
    let mut elements = BTreeMap::new();
    for message in inner(wire.dump(request)?) {
        let NfTablesMessage::NewSetElement(list) = message else { continue };
        for attribute in list.attributes {
            let SetElementList::Elements(found) = attribute else { continue };
            elements.extend(found.into_iter().map(take_element));
        }
    }
    Ok(elements)
}

/// An element that cannot be read becomes an empty key, which no map of ours holds.
fn take_element(element: ListAttribute<SetElementAttribute>) -> (Vec<u8>, Vec<u8>) {
    let (mut key, mut value) = (Vec::new(), Vec::new());
    if let ListAttribute::Element(attributes) = element {
        for attribute in attributes {
            match attribute {
                SetElementAttribute::Key(DataAttribute::Value(bytes)) => key = bytes,
                SetElementAttribute::Data(DataAttribute::Value(bytes)) => value = bytes,
                _ => {}
            }
        }
    }
    (key, value)
}
