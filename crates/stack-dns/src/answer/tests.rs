use proptest::prelude::*;

use super::*;

fn zone(forward: bool) -> Zone {
    let addresses = |last: std::ops::RangeInclusive<u8>| last.map(|n| IpAddr::from([10, 89, 0, n])).collect();
    let hosts = [
        ("api".to_owned(), addresses(2..=4)),
        ("shop-api-1".to_owned(), addresses(2..=2)),
        ("0123456789ab".to_owned(), addresses(2..=2)),
        ("db".to_owned(), addresses(9..=9)),
        ("many".to_owned(), addresses(10..=100)),
        ("api.example.com".to_owned(), addresses(7..=7)),
    ];
    Zone { hosts: hosts.into(), forward, servers: Vec::new() }
}

fn query(name: &str, kind: RecordType) -> Message {
    let mut message = Message::query();
    message.metadata.id = 7;
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(Name::from_ascii(name).unwrap(), kind));
    message
}

fn ask(zone: &Zone, message: &Message, turn: usize, transport: Transport) -> Message {
    match answer(zone, &message.to_vec().unwrap(), transport, turn) {
        Answer::Reply(bytes) => Message::from_vec(&bytes).unwrap(),
        other => panic!("{other:?}"),
    }
}

fn addresses(message: &Message) -> Vec<String> {
    message.answers.iter().map(|record| record.data.to_string()).collect()
}

#[test]
fn a_name_is_answered_in_turn_and_never_cached() {
    let zone = zone(true);
    let reply = ask(&zone, &query("API.", RecordType::A), 0, Transport::Udp);
    assert_eq!(addresses(&reply), ["10.89.0.2", "10.89.0.3", "10.89.0.4"]);
    assert!(reply.answers.iter().all(|record| record.ttl == 0));
    assert_eq!(reply.queries[0].name().to_string(), "API.");
    assert_eq!(reply.answers[0].name.to_string(), "API.");
    assert_eq!((reply.metadata.id, reply.metadata.response_code), (7, ResponseCode::NoError));
    assert!(reply.metadata.recursion_available && reply.metadata.recursion_desired);
    let next = ask(&zone, &query("api.", RecordType::A), 4, Transport::Udp);
    assert_eq!(addresses(&next), ["10.89.0.3", "10.89.0.4", "10.89.0.2"]);
}

#[test]
fn a_known_name_without_records_of_the_type_is_empty_at_once() {
    for kind in [RecordType::AAAA, RecordType::MX, RecordType::HTTPS] {
        let reply = ask(&zone(true), &query("db.", kind), 0, Transport::Udp);
        assert_eq!(reply.metadata.response_code, ResponseCode::NoError);
        assert!(reply.answers.is_empty());
    }
}

#[test]
fn an_unknown_name_is_forwarded_or_does_not_exist() {
    let packet = query("deb.debian.org.", RecordType::A).to_vec().unwrap();
    assert_eq!(answer(&zone(true), &packet, Transport::Udp, 0), Answer::Forward);
    let reply = ask(&zone(false), &query("deb.debian.org.", RecordType::A), 0, Transport::Udp);
    assert_eq!(reply.metadata.response_code, ResponseCode::NXDomain);
}

#[test]
fn an_alias_with_dots_is_a_name_like_any_other() {
    let reply = ask(&zone(false), &query("api.example.com.", RecordType::A), 0, Transport::Udp);
    assert_eq!(addresses(&reply), ["10.89.0.7"]);
}

#[test]
fn an_address_has_the_name_of_its_container() {
    let reply = ask(&zone(false), &query("2.0.89.10.in-addr.arpa.", RecordType::PTR), 0, Transport::Udp);
    assert_eq!(addresses(&reply), ["shop-api-1."]);
    let unknown = ask(&zone(false), &query("200.0.89.10.in-addr.arpa.", RecordType::PTR), 0, Transport::Udp);
    assert_eq!(unknown.metadata.response_code, ResponseCode::NXDomain);
}

#[test]
fn what_does_not_fit_is_truncated_over_udp_only() {
    let zone = zone(false);
    let small = query("many.", RecordType::A);
    let reply = ask(&zone, &small, 0, Transport::Udp);
    assert!(reply.metadata.truncation && reply.answers.is_empty());
    assert_eq!(ask(&zone, &small, 0, Transport::Tcp).answers.len(), 91);
    let mut large = small;
    let mut edns = Edns::new();
    edns.set_max_payload(4096);
    large.set_edns(edns);
    let reply = ask(&zone, &large, 0, Transport::Udp);
    assert_eq!((reply.metadata.truncation, reply.answers.len()), (false, 91));
    assert!(reply.edns.is_some());
}

#[test]
fn what_is_no_question_is_refused_or_ignored() {
    let zone = zone(true);
    let mut message = query("db.", RecordType::A);
    message.metadata.message_type = MessageType::Response;
    assert_eq!(answer(&zone, &message.to_vec().unwrap(), Transport::Udp, 0), Answer::Ignore);
    let mut message = query("db.", RecordType::A);
    message.metadata.op_code = OpCode::Notify;
    let reply = ask(&zone, &message, 0, Transport::Udp);
    assert_eq!(reply.metadata.response_code, ResponseCode::NotImp);
    let mut message = query("db.", RecordType::A);
    message.queries.clear();
    let reply = ask(&zone, &message, 0, Transport::Udp);
    assert_eq!(reply.metadata.response_code, ResponseCode::FormErr);
    let mut packet = query("db.", RecordType::A).to_vec().unwrap();
    packet.truncate(15);
    assert!(matches!(answer(&zone, &packet, Transport::Udp, 0), Answer::Reply(bytes) if bytes[3] == 1));
    assert_eq!(answer(&zone, &packet[..5], Transport::Udp, 0), Answer::Ignore);
}

#[test]
fn names_of_one_label_never_leave() {
    for name in ["dbb.", "app.localhost."] {
        let reply = ask(&zone(true), &query(name, RecordType::A), 0, Transport::Udp);
        assert_eq!(reply.metadata.response_code, ResponseCode::NXDomain, "{name}");
    }
    let packet = query("org.", RecordType::NS).to_vec().unwrap();
    assert_eq!(answer(&zone(true), &packet, Transport::Udp, 0), Answer::Forward);
}

proptest! {
    #[test]
    fn no_packet_panics(bytes in prop::collection::vec(any::<u8>(), 0..600), turn: usize) {
        answer(&zone(true), &bytes, Transport::Udp, turn);
    }

    #[test]
    fn no_damaged_question_panics(at in 0_usize..40, value: u8, cut in 0_usize..40) {
        let mut packet = query("api.example.com.", RecordType::A).to_vec().unwrap();
        let length = packet.len();
        packet[at % length] = value;
        packet.truncate(length.saturating_sub(cut));
        answer(&zone(false), &packet, Transport::Udp, 0);
    }
}

#[test]
fn addresses_of_ipv6_are_asked_for_by_their_own_type() {
    let mut zone = zone(true);
    let six: IpAddr = "fd00:1::242:a59:2".parse().unwrap();
    zone.hosts.get_mut("db").unwrap().push(six);
    let asked = |name: &str, kind| ask(&zone, &query(name, kind), 0, Transport::Udp).answers;
    let datas = |records: Vec<Record>| records.into_iter().map(|record| record.data).collect::<Vec<_>>();
    assert_eq!(datas(asked("db.", RecordType::A)), [RData::A(A::new(10, 89, 0, 9))]);
    let IpAddr::V6(plain) = six else { unreachable!() };
    assert_eq!(datas(asked("db.", RecordType::AAAA)), [RData::AAAA(AAAA(plain))]);
    assert_eq!(asked("db.", RecordType::ANY).len(), 2);
    assert_eq!(asked("api.", RecordType::AAAA).len(), 0, "it is known and has none");
    let digits: Vec<String> =
        plain.octets().iter().rev().flat_map(|byte| [byte & 15, byte >> 4]).map(|d| format!("{d:x}")).collect();
    let pointer = asked(&format!("{}.ip6.arpa.", digits.join(".")), RecordType::PTR);
    assert_eq!(datas(pointer), [RData::PTR(PTR(Name::from_ascii("db.").unwrap()))]);
}
