//! The server on real sockets of the loopback interface.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use hickory_proto::op::{Message, MessageType, Query, ResponseCode};
use hickory_proto::rr::rdata::A;
use hickory_proto::rr::{Name, RData, Record, RecordType};
use stack_dns::Server;
use stack_model::{ContainerId, Names, NetworkName, View};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};

const DEADLINE: Duration = Duration::from_secs(10);

type Sockets = (std::net::UdpSocket, std::net::TcpListener);

fn sockets() -> (Sockets, SocketAddr) {
    let tcp = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = tcp.local_addr().unwrap();
    ((std::net::UdpSocket::bind(address).unwrap(), tcp), address)
}

fn names(id: &str, hosts: &[(&str, u8)], forward: bool) -> Names {
    let hosts =
        hosts.iter().map(|(name, last)| ((*name).to_owned(), vec![Ipv4Addr::new(10, 89, 0, *last).into()])).collect();
    // Each container is on a network of its own.
    let network = NetworkName::new(id);
    let view = View { networks: vec![network.clone()], forward, servers: Vec::new(), links: stack_model::Hosts::new() };
    Names { networks: [(network, hosts)].into(), views: [(ContainerId::new(id), view)].into() }
}

fn add(all: &mut Names, more: Names) {
    all.networks.extend(more.networks);
    all.views.extend(more.views);
}

fn query(name: &str, kind: RecordType) -> Vec<u8> {
    let mut message = Message::query();
    message.add_query(Query::query(Name::from_ascii(name).unwrap(), kind));
    message.to_vec().unwrap()
}

async fn ask(server: SocketAddr, name: &str) -> Message {
    ask_for(server, name, RecordType::A).await
}

async fn ask_for(server: SocketAddr, name: &str, kind: RecordType) -> Message {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    socket.send_to(&query(name, kind), server).await.unwrap();
    let mut buffer = [0; 4096];
    let length = tokio::time::timeout(DEADLINE, socket.recv(&mut buffer)).await.unwrap().unwrap();
    Message::from_vec(&buffer[..length]).unwrap()
}

fn first(message: &Message) -> String {
    message.answers.first().map(|record| record.data.to_string()).unwrap_or_default()
}

#[tokio::test]
async fn each_container_sees_its_own_names_and_a_new_set_replaces_them() {
    let server = Server::new();
    let (one, one_address) = sockets();
    let (two, two_address) = sockets();
    server.serve("one".into(), one).unwrap();
    server.serve("two".into(), two).unwrap();
    let mut both = names("one", &[("db", 2)], false);
    add(&mut both, names("two", &[("web", 3)], false));
    server.publish(both.clone());
    assert_eq!(server.names(), both);
    assert_eq!(first(&ask(one_address, "db.").await), "10.89.0.2");
    assert_eq!(ask(two_address, "db.").await.metadata.response_code, ResponseCode::NXDomain);
    assert_eq!(first(&ask(two_address, "web.").await), "10.89.0.3");
    server.publish(names("one", &[("db", 9)], false));
    assert_eq!(first(&ask(one_address, "db.").await), "10.89.0.9");
}

#[tokio::test]
async fn replicas_take_turns_although_clients_ask_in_pairs() {
    let server = Server::new();
    let (sockets, address) = sockets();
    server.serve("one".into(), sockets).unwrap();
    let mut two = names("one", &[("api", 2)], false);
    two.networks.get_mut("one").unwrap().get_mut("api").unwrap().push(Ipv4Addr::new(10, 89, 0, 3).into());
    server.publish(two);
    let mut seen = Vec::new();
    for _ in 0..4 {
        seen.push(first(&ask(address, "api.").await));
        assert_eq!(first(&ask_for(address, "api.", RecordType::AAAA).await), "");
    }
    assert_eq!(seen, ["10.89.0.2", "10.89.0.3", "10.89.0.2", "10.89.0.3"]);
}

#[tokio::test]
async fn a_stream_carries_several_questions() {
    let server = Server::new();
    let (sockets, address) = sockets();
    server.serve("one".into(), sockets).unwrap();
    server.publish(names("one", &[("db", 2)], false));
    let mut stream = TcpStream::connect(address).await.unwrap();
    for _ in 0..3 {
        let packet = query("db.", RecordType::A);
        stream.write_u16(packet.len() as u16).await.unwrap();
        stream.write_all(&packet).await.unwrap();
        let mut reply = vec![0; usize::from(stream.read_u16().await.unwrap())];
        stream.read_exact(&mut reply).await.unwrap();
        assert_eq!(first(&Message::from_vec(&reply).unwrap()), "10.89.0.2");
    }
}

#[tokio::test]
async fn a_question_before_the_names_are_known_waits_for_them() {
    let server = Server::new();
    let (sockets, address) = sockets();
    server.serve("one".into(), sockets).unwrap();
    let asked = tokio::spawn(async move { ask(address, "db.").await });
    let (other, other_address) = self::sockets();
    server.serve("two".into(), other).unwrap();
    server.publish(names("two", &[("db", 7)], false));
    // An answer to the second container shows that the server has had its turn with the first question.
    assert_eq!(first(&ask(other_address, "db.").await), "10.89.0.7");
    assert!(!asked.is_finished());
    server.publish(names("one", &[("db", 2)], false));
    assert_eq!(first(&asked.await.unwrap()), "10.89.0.2");
}

#[tokio::test]
async fn a_removed_container_has_its_sockets_closed() {
    let server = Server::new();
    let (sockets, address) = sockets();
    server.serve("one".into(), sockets).unwrap();
    server.remove(&"one".into());
    let deadline = Instant::now() + DEADLINE;
    while std::net::UdpSocket::bind(address).is_err() {
        assert!(Instant::now() < deadline, "the socket stays open");
        tokio::task::yield_now().await;
    }
}

/// A resolver on the loopback interface that knows one name.
fn resolver(socket: UdpSocket) -> tokio::task::JoinHandle<()> {
    tokio::spawn(async move {
        let mut buffer = [0; 4096];
        loop {
            let (length, client) = socket.recv_from(&mut buffer).await.unwrap();
            let mut message = Message::from_vec(&buffer[..length]).unwrap();
            let name = message.queries[0].name().clone();
            assert_eq!(name.to_ascii(), "example.org.", "only names of the outside may arrive here");
            message.metadata.message_type = MessageType::Response;
            message.add_answer(Record::from_rdata(name, 60, RData::A(A(Ipv4Addr::new(192, 0, 2, 7)))));
            // An answer to another question comes first and must not be believed.
            let mut forged = message.to_vec().unwrap();
            forged[0] ^= 0xff;
            socket.send_to(&forged, client).await.unwrap();
            socket.send_to(&message.to_vec().unwrap(), client).await.unwrap();
        }
    })
}

#[tokio::test]
async fn other_names_are_asked_of_the_hosts_resolver_unless_the_network_is_internal() {
    let socket = match UdpSocket::bind("127.0.0.77:53").await {
        Ok(socket) => socket,
        Err(error) => return println!("SKIP cannot listen on 127.0.0.77:53: {error}"),
    };
    let resolver = resolver(socket);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("resolv.conf");
    std::fs::File::create(&path)
        .and_then(|mut file| std::io::Write::write_all(&mut file, b"nameserver 127.0.0.77\n"))
        .unwrap();
    let server = Server::with_resolv_conf(path);
    let (open, open_address) = sockets();
    let (internal, internal_address) = sockets();
    server.serve("open".into(), open).unwrap();
    server.serve("internal".into(), internal).unwrap();
    let mut both = names("open", &[("db", 2)], true);
    add(&mut both, names("internal", &[("db", 2)], false));
    server.publish(both);
    assert_eq!(first(&ask(open_address, "example.org.").await), "192.0.2.7");
    assert_eq!(ask(open_address, "typo.").await.metadata.response_code, ResponseCode::NXDomain);
    let secret = ask(internal_address, "example.org.").await;
    assert_eq!(secret.metadata.response_code, ResponseCode::NXDomain);
    resolver.abort();
}

fn resident_bytes() -> usize {
    let status = std::fs::File::open("/proc/self/status").and_then(std::io::read_to_string).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() * 1024
}

#[tokio::test]
async fn a_hundred_containers_cost_little_memory() {
    const CONTAINERS: usize = 100;
    const BYTES_EACH_MAX: usize = 30 << 10;
    let server = Server::new();
    let (warm, address) = sockets();
    server.serve("warm".into(), warm).unwrap();
    server.publish(names("warm", &[("db", 2)], false));
    ask(address, "db.").await;
    let before = resident_bytes();
    let hosts: Vec<String> = (0..CONTAINERS).map(|n| format!("service-{n}")).collect();
    let hosts: Vec<(&str, u8)> = hosts.iter().map(|name| (name.as_str(), 4)).collect();
    let mut all = names("0", &hosts, false);
    let view = all.views.pop_first().unwrap().1;
    let mut addresses = Vec::new();
    for number in 0..CONTAINERS {
        let (sockets, address) = sockets();
        let id = format!("{number:016x}");
        server.serve(id.as_str().into(), sockets).unwrap();
        all.views.insert(id.as_str().into(), view.clone());
        addresses.push(address);
    }
    server.publish(all);
    for address in addresses {
        assert_eq!(first(&ask(address, "service-7.").await), "10.89.0.4");
    }
    let each = resident_bytes().saturating_sub(before) / CONTAINERS;
    println!("{each} bytes for each container");
    assert!(each < BYTES_EACH_MAX, "{each} bytes for each container");
}
