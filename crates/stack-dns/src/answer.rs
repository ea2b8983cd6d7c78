//! From a question to an answer, without a socket.

use std::net::Ipv4Addr;

use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::{A, PTR};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use stack_model::Zone;

/// Answers change with the next plan: nobody may remember them.
const TTL_SECONDS: u32 = 0;
/// What a UDP client takes that does not say otherwise (RFC 1035, 2.3.4).
const UDP_BYTES_DEFAULT: u16 = 512;
/// What we promise to take ourselves; larger datagrams get fragmented (DNS Flag Day 2020).
const UDP_BYTES_MAX: u16 = 1232;

/// How a question came in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// A datagram: the answer must fit what the client takes.
    Udp,
    /// A stream: any length up to 64 KiB.
    Tcp,
}

/// What to do with a question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// Send this.
    Reply(Vec<u8>),
    /// Ask the host's resolvers.
    Forward,
    /// Say nothing: it was not a question.
    Ignore,
}

/// Answers `packet` from `zone`. `turn` rotates the addresses of a name, so that clients spread over replicas.
pub fn answer(zone: &Zone, packet: &[u8], transport: Transport, turn: usize) -> Answer {
    let Ok(question) = Message::from_vec(packet) else { return malformed(packet) };
    if question.metadata.message_type != MessageType::Query {
        return Answer::Ignore;
    }
    if question.metadata.op_code != OpCode::Query {
        return reply(&question, ResponseCode::NotImp, Vec::new(), transport);
    }
    let [query] = question.queries.as_slice() else {
        return reply(&question, ResponseCode::FormErr, Vec::new(), transport);
    };
    match look_up(zone, query, turn) {
        Found::Records(records) => reply(&question, ResponseCode::NoError, records, transport),
        Found::Nothing if zone.forward && !is_local(query.name()) => Answer::Forward,
        Found::Nothing => reply(&question, ResponseCode::NXDomain, Vec::new(), transport),
    }
}

enum Found {
    /// The name is ours; no record of the wanted type is an answer too.
    Records(Vec<Record>),
    Nothing,
}

fn look_up(zone: &Zone, query: &Query, turn: usize) -> Found {
    if query.query_type() == RecordType::PTR {
        return look_up_address(zone, query);
    }
    let name = query.name().to_ascii().to_ascii_lowercase();
    let Some(addresses) = zone.hosts.get(name.trim_end_matches('.')) else { return Found::Nothing };
    if query.query_type() != RecordType::A || addresses.is_empty() {
        return Found::Records(Vec::new());
    }
    let first = turn % addresses.len();
    let rotated = addresses[first..].iter().chain(&addresses[..first]);
    // The name is repeated as it was asked, so that clients that randomise its case recognise it.
    Found::Records(rotated.map(|address| record(query.name(), RData::A(A(*address)))).collect())
}

fn look_up_address(zone: &Zone, query: &Query) -> Found {
    let Some(address) = reversed(query.name()) else { return Found::Nothing };
    let owner = zone.hosts.iter().find(|(_, addresses)| addresses.contains(&address));
    let Some(target) = owner.and_then(|(name, _)| Name::from_ascii(format!("{name}.")).ok()) else {
        return Found::Nothing;
    };
    Found::Records(vec![record(query.name(), RData::PTR(PTR(target)))])
}

/// The address in `4.3.2.1.in-addr.arpa`.
fn reversed(name: &Name) -> Option<Ipv4Addr> {
    let text = name.to_ascii().to_ascii_lowercase();
    let digits = text.trim_end_matches('.').strip_suffix(".in-addr.arpa")?;
    let mut octets: Vec<u8> = digits.split('.').map(str::parse).collect::<Result<_, _>>().ok()?;
    octets.reverse();
    <[u8; 4]>::try_from(octets).ok().map(Ipv4Addr::from)
}

/// A name that no resolver outside can know: asking would only leak it.
fn is_local(name: &Name) -> bool {
    name.num_labels() <= 1 || name.to_ascii().to_ascii_lowercase().trim_end_matches('.').ends_with(".localhost")
}

fn record(name: &Name, data: RData) -> Record {
    Record::from_rdata(name.clone(), TTL_SECONDS, data)
}

fn reply(question: &Message, code: ResponseCode, records: Vec<Record>, transport: Transport) -> Answer {
    let mut message = Message::response(question.metadata.id, question.metadata.op_code);
    message.metadata.recursion_desired = question.metadata.recursion_desired;
    message.metadata.recursion_available = true;
    message.metadata.authoritative = code == ResponseCode::NoError;
    message.metadata.response_code = code;
    message.add_queries(question.queries.iter().cloned());
    message.add_answers(records);
    let limit = match (&question.edns, transport) {
        (_, Transport::Tcp) => u16::MAX,
        (Some(edns), Transport::Udp) => edns.max_payload().clamp(UDP_BYTES_DEFAULT, UDP_BYTES_MAX),
        (None, Transport::Udp) => UDP_BYTES_DEFAULT,
    };
    if question.edns.is_some() {
        let mut edns = Edns::new();
        edns.set_max_payload(UDP_BYTES_MAX);
        message.set_edns(edns);
    }
    match message.to_vec() {
        Ok(bytes) if bytes.len() <= usize::from(limit) => Answer::Reply(bytes),
        Ok(_) => message.truncate().to_vec().map_or(Answer::Ignore, Answer::Reply),
        Err(_) => Answer::Ignore,
    }
}

/// A packet that cannot be read gets a format error if at least its identifier is there and it is no answer.
fn malformed(packet: &[u8]) -> Answer {
    let [first, second, flags, ..] = packet else { return Answer::Ignore };
    if packet.len() < 12 || flags & 0x80 != 0 {
        return Answer::Ignore;
    }
    let id = u16::from_be_bytes([*first, *second]);
    let message = Message::error_msg(id, OpCode::Query, ResponseCode::FormErr);
    message.to_vec().map_or(Answer::Ignore, Answer::Reply)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn zone(forward: bool) -> Zone {
        let many = (1..=80).map(|n| Ipv4Addr::new(10, 89, 1, n)).collect();
        let hosts = BTreeMap::from([
            ("db".to_owned(), vec![Ipv4Addr::new(10, 89, 0, 2), Ipv4Addr::new(10, 89, 0, 3)]),
            ("many".to_owned(), many),
        ]);
        Zone { hosts, forward }
    }

    fn question(name: &str, kind: RecordType) -> Vec<u8> {
        let mut message = Message::query();
        message.metadata.id = 77;
        message.add_query(Query::query(Name::from_ascii(name).unwrap(), kind));
        message.to_vec().unwrap()
    }

    fn ask(zone: &Zone, name: &str, kind: RecordType, turn: usize) -> Message {
        match answer(zone, &question(name, kind), Transport::Udp, turn) {
            Answer::Reply(bytes) => Message::from_vec(&bytes).unwrap(),
            other => panic!("{name}: {other:?}"),
        }
    }

    fn addresses(message: &Message) -> Vec<String> {
        message.answers.iter().map(|record| record.data.to_string()).collect()
    }

    #[test]
    fn replicas_rotate_and_case_does_not_matter() {
        let reply = ask(&zone(true), "DB.", RecordType::A, 0);
        assert_eq!(addresses(&reply), ["10.89.0.2", "10.89.0.3"]);
        assert_eq!(reply.metadata.id, 77);
        assert_eq!(reply.answers[0].name.to_ascii(), "DB.");
        assert_eq!(reply.answers[0].ttl, 0);
        assert_eq!(addresses(&ask(&zone(true), "db.", RecordType::A, 1)), ["10.89.0.3", "10.89.0.2"]);
    }

    #[test]
    fn a_known_name_without_that_type_has_no_data_and_is_not_forwarded() {
        let reply = ask(&zone(true), "db.", RecordType::AAAA, 0);
        assert_eq!((reply.metadata.response_code, reply.answers.len()), (ResponseCode::NoError, 0));
    }

    #[test]
    fn project_names_never_leave_and_others_do_only_where_allowed() {
        assert_eq!(ask(&zone(true), "dbb.", RecordType::A, 0).metadata.response_code, ResponseCode::NXDomain);
        let outside = question("example.org.", RecordType::A);
        assert_eq!(answer(&zone(true), &outside, Transport::Udp, 0), Answer::Forward);
        assert_eq!(ask(&zone(false), "example.org.", RecordType::A, 0).metadata.response_code, ResponseCode::NXDomain);
    }

    #[test]
    fn addresses_have_names() {
        let reply = ask(&zone(true), "3.0.89.10.in-addr.arpa.", RecordType::PTR, 0);
        assert_eq!(addresses(&reply), ["db."]);
    }

    #[test]
    fn a_datagram_that_would_be_too_long_is_cut_and_a_stream_is_not() {
        let packet = question("many.", RecordType::A);
        let Answer::Reply(cut) = answer(&zone(true), &packet, Transport::Udp, 0) else { panic!("no reply") };
        assert!(cut.len() <= 512);
        assert!(Message::from_vec(&cut).unwrap().metadata.truncation);
        let Answer::Reply(whole) = answer(&zone(true), &packet, Transport::Tcp, 0) else { panic!("no reply") };
        assert_eq!(Message::from_vec(&whole).unwrap().answers.len(), 80);
    }

    proptest::proptest! {
        #[test]
        fn no_packet_makes_it_panic(packet in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..600)) {
            drop(answer(&zone(true), &packet, Transport::Udp, 3));
        }

        #[test]
        fn no_mutation_of_a_question_makes_it_panic(at in 0usize..20, byte in 0u8..=255) {
            let mut packet = question("db.", RecordType::A);
            let at = at % packet.len();
            packet[at] = byte;
            drop(answer(&zone(false), &packet, Transport::Tcp, 1));
        }
    }
}
