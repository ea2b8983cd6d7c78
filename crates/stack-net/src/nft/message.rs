//! The requests that make a table.

use netlink_packet_core::{DefaultNla, NLA_F_NESTED, NLM_F_APPEND, NLM_F_CREATE, NetlinkMessage};
use netlink_packet_netfilter::nftables::{
    ChainAttribute, ChainMessage, DataAttribute, Hook as HookAttribute, HookNumber, ListAttribute, NfTablesMessage,
    RuleAttribute, RuleMessage, SetAttribute, SetElementAttribute, SetElementList, SetElementMessage, SetFlags,
    SetMessage, TableAttribute, TableMessage,
};
use netlink_packet_netfilter::none::ControlMessage;
use netlink_packet_netfilter::{NetfilterHeader, NetfilterMessage, NetfilterMessageInner, NetfilterProtoFamily};

use super::table::{Chain, Map, Rule, Table};

pub(super) type Message = NetlinkMessage<NetfilterMessage>;

/// Elements in one message: an attribute holds at most 64 KiB, and one element takes at most 68 bytes.
const ELEMENTS_MAX: usize = 512;
/// Batches name the subsystem that they are for (`NFNL_SUBSYS_NFTABLES`).
const SUBSYSTEM: u16 = 10;
pub(super) const POLICY_ACCEPT: u32 = 1;
/// The list of a rule's instructions (`NFTA_RULE_EXPRESSIONS`).
pub(super) const EXPRESSIONS: u16 = 4;
/// A comment in the private bytes of a rule, as the nft command writes it (`NFTNL_UDATA_RULE_COMMENT`).
pub(super) const USERDATA_COMMENT: u8 = 0;

fn message(inner: impl Into<NetfilterMessageInner>, resource: u16, flags: u16) -> Message {
    let header = NetfilterHeader::new(NetfilterProtoFamily::Inet, 0, resource);
    let mut message = NetlinkMessage::from(NetfilterMessage::new(header, inner));
    message.header.flags = flags;
    message
}

pub(super) fn request(inner: NfTablesMessage, flags: u16) -> Message {
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
    let mut attributes = vec![
        RuleAttribute::Table(table.to_owned()),
        RuleAttribute::Chain(chain.to_owned()),
        RuleAttribute::Other(DefaultNla::new(EXPRESSIONS | NLA_F_NESTED, rule.expressions.clone())),
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
