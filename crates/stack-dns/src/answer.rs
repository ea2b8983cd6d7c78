//! One question, one answer (RFC 1035, RFC 6891). Nothing here reads a clock, a socket or a file.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA, PTR};
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};
use stack_model::Zone;

/// Addresses change when a container is replaced, so nobody may remember them.
const TTL_SECONDS: u32 = 0;
/// What a client without EDNS can take (RFC 1035, 4.2.1).
const PLAIN_BYTES: u16 = 512;
/// The most we send over UDP, however much the client can take.
const EDNS_BYTES: u16 = 4096;
const HEADER_BYTES: usize = 12;

/// How a question arrived; a UDP answer has a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// One datagram.
    Udp,
    /// A stream.
    Tcp,
}

/// What to do with a packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// Send this back.
    Reply(Vec<u8>),
    /// Ask the host's resolvers.
    Forward,
    /// Not a question; an answer could make two servers talk to each other for ever.
    Ignore,
}

/// Answers a packet from a container's zone. `turn` moves the first of several addresses, so that clients spread.
pub fn answer(zone: &Zone, packet: &[u8], transport: Transport, turn: usize) -> Answer {
    let Ok(query) = Message::from_vec(packet) else { return malformed(packet) };
    if query.metadata.message_type != MessageType::Query {
        return Answer::Ignore;
    }
    if query.metadata.op_code != OpCode::Query {
        return reply(&query, ResponseCode::NotImp, Vec::new(), transport);
    }
    let [question] = query.queries.as_slice() else {
        return reply(&query, ResponseCode::FormErr, Vec::new(), transport);
    };
    if query.edns.as_ref().is_some_and(|edns| edns.version() > 0) {
        return reply(&query, ResponseCode::BADVERS, Vec::new(), transport);
    }
    if question.query_class() != DNSClass::IN && question.query_class() != DNSClass::ANY {
        return reply(&query, ResponseCode::Refused, Vec::new(), transport);
    }
    match records(zone, question, turn) {
        // No record of this type: a name that exists, and an empty list at once instead of a timeout.
        Some(records) => reply(&query, ResponseCode::NoError, records, transport),
        None if zone.forward && !stays_here(question) => Answer::Forward,
        // "Refused" would be more honest, but some resolvers wait for another answer until they time out.
        None => reply(&query, ResponseCode::NXDomain, Vec::new(), transport),
    }
}

/// An answer that says no, to a packet that [`answer`] wants forwarded and nobody can be asked about.
pub(crate) fn failure(packet: &[u8], code: ResponseCode, transport: Transport) -> Option<Vec<u8>> {
    let query = Message::from_vec(packet).ok()?;
    match reply(&query, code, Vec::new(), transport) {
        Answer::Reply(bytes) => Some(bytes),
        Answer::Forward | Answer::Ignore => None,
    }
}

/// `None` if the zone does not know the name.
fn records(zone: &Zone, question: &Query, turn: usize) -> Option<Vec<Record>> {
    let name = text(question.name())?;
    if let Some(address) = reverse(&name) {
        return pointer(zone, address).map(|target| match question.query_type() {
            RecordType::PTR | RecordType::ANY => vec![record(question, RData::PTR(PTR(target)))],
            _ => Vec::new(),
        });
    }
    let kind = question.query_type();
    let asked = |address: &&IpAddr| match address {
        IpAddr::V4(_) => matches!(kind, RecordType::A | RecordType::ANY),
        IpAddr::V6(_) => matches!(kind, RecordType::AAAA | RecordType::ANY),
    };
    let addresses: Vec<&IpAddr> = zone.hosts.get(&name)?.iter().filter(asked).collect();
    let first = turn.checked_rem(addresses.len()).unwrap_or(0);
    let turned = addresses.iter().cycle().skip(first).take(addresses.len());
    let data = |address: &IpAddr| match address {
        IpAddr::V4(address) => RData::A(A(*address)),
        IpAddr::V6(address) => RData::AAAA(AAAA(*address)),
    };
    Some(turned.map(|address| record(question, data(address))).collect())
}

/// An address that no resolver outside can know, so that asking would only tell it the names of services: a name of one
/// label, which is a service of this project that is misspelt or on another network, or one of this host.
fn stays_here(question: &Query) -> bool {
    let name = question.name();
    let local = name.iter().next_back().is_some_and(|label| label.eq_ignore_ascii_case(b"localhost"));
    let address = matches!(question.query_type(), RecordType::A | RecordType::AAAA);
    local || address && name.num_labels() == 1
}

/// The name as the client wrote it, so that its check of upper and lower case holds.
fn record(question: &Query, data: RData) -> Record {
    Record::from_rdata(question.name().clone(), TTL_SECONDS, data)
}

/// A name as zones hold it. Labels with dots or with bytes that are no text are not ours.
fn text(name: &Name) -> Option<String> {
    let mut text = String::with_capacity(name.len());
    for label in name.iter() {
        let label = std::str::from_utf8(label).ok().filter(|label| !label.contains('.'))?;
        if !text.is_empty() {
            text.push('.');
        }
        text.push_str(label);
    }
    text.make_ascii_lowercase();
    Some(text)
}

/// `2.0.89.10.in-addr.arpa` is 10.89.0.2; below `ip6.arpa` each label is half a byte (RFC 3596).
fn reverse(name: &str) -> Option<IpAddr> {
    if let Some(digits) = name.strip_suffix(".ip6.arpa") {
        let mut bits = 0_u128;
        let mut count = 0;
        for (place, label) in digits.split('.').enumerate() {
            let digit = u128::from_str_radix(label, 16).ok().filter(|_| label.len() == 1 && place < 32)?;
            bits |= digit << (4 * place);
            count += 1;
        }
        return (count == 32).then(|| Ipv6Addr::from(bits).into());
    }
    let mut octets = [0; 4];
    let mut labels = name.strip_suffix(".in-addr.arpa")?.split('.');
    for octet in octets.iter_mut().rev() {
        *octet = labels.next()?.parse().ok()?;
    }
    labels.next().is_none().then(|| Ipv4Addr::from(octets).into())
}

/// The name that says most about an address: one that has no other address, is no identifier, and is long.
fn pointer(zone: &Zone, address: IpAddr) -> Option<Name> {
    let identifier = |name: &str| name.len() == 12 && name.bytes().all(|byte| byte.is_ascii_hexdigit());
    let candidates = zone.hosts.iter().filter(|(_, addresses)| addresses.contains(&address));
    let best = candidates
        .min_by_key(|(name, addresses)| (addresses.len(), identifier(name), std::cmp::Reverse(name.len()), *name))?;
    Name::from_ascii(format!("{}.", best.0)).ok()
}

fn reply(query: &Message, code: ResponseCode, answers: Vec<Record>, transport: Transport) -> Answer {
    let mut message = Message::response(query.metadata.id, query.metadata.op_code);
    message.metadata.response_code = code;
    message.metadata.authoritative = true;
    message.metadata.recursion_desired = query.metadata.recursion_desired;
    message.metadata.recursion_available = true;
    message.queries.clone_from(&query.queries);
    message.answers = answers;
    let mut limit = PLAIN_BYTES;
    if let Some(edns) = &query.edns {
        limit = edns.max_payload().clamp(PLAIN_BYTES, EDNS_BYTES);
        let mut own = Edns::new();
        own.set_max_payload(EDNS_BYTES);
        message.set_edns(own);
    }
    let Ok(bytes) = message.to_vec() else { return Answer::Ignore };
    if transport == Transport::Tcp || bytes.len() <= usize::from(limit) {
        return Answer::Reply(bytes);
    }
    // The client comes back over TCP.
    message.truncate().to_vec().map_or(Answer::Ignore, Answer::Reply)
}

/// A question that cannot be read gets its header back with an error; anything else gets nothing.
fn malformed(packet: &[u8]) -> Answer {
    const IS_RESPONSE: u8 = 0x80;
    const OP_CODE: u8 = 0x78;
    let [id_high, id_low, flags, ..] = *packet else { return Answer::Ignore };
    if packet.len() < HEADER_BYTES || flags & IS_RESPONSE != 0 {
        return Answer::Ignore;
    }
    let mut bytes = vec![id_high, id_low, IS_RESPONSE | (flags & OP_CODE), ResponseCode::FormErr.low()];
    bytes.resize(HEADER_BYTES, 0);
    Answer::Reply(bytes)
}

#[cfg(test)]
mod tests;
