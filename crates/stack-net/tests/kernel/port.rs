use std::collections::BTreeSet;
use std::net::{TcpListener, UdpSocket};

use stack_model::{Fault, Protocol, PublishedPort};
use stack_net::{NetError, Ports, free_port};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

use crate::world::{DEADLINE, World, endpoint, port, rules};

/// Runs a future on a runtime of its own on the calling thread, which is inside the test's host.
fn run<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(DEADLINE, future).await.unwrap() })
}

async fn seen(address: &str) -> String {
    let mut text = String::new();
    TcpStream::connect(address).await.unwrap().read_to_string(&mut text).await.unwrap();
    text
}

fn set(ports: &[PublishedPort]) -> BTreeSet<PublishedPort> {
    ports.iter().cloned().collect()
}

#[test]
fn a_taken_port_names_the_process_and_changes_nothing() {
    let Some(_world) = World::new() else { return };
    run(async {
        let taken = TcpListener::bind("127.0.0.1:8081").unwrap();
        let mut ports = Ports::new();
        ports.reserve(&set(&[port(None, 8079, "10.89.0.2:80")])).unwrap();
        let wanted = set(&[port(None, 8080, "10.89.0.2:80"), port(None, 8081, "10.89.0.2:81")]);
        let error = ports.reserve(&wanted).unwrap_err();
        let NetError::PortTaken { port: 8081, owner: Some(owner), .. } = &error else { panic!("{error}") };
        assert_eq!(owner.pid, std::process::id());
        assert_eq!(error.fault(), Fault::Conflict);
        let prefix = format!("port 0.0.0.0:8081/tcp is taken by process {} (", std::process::id());
        assert!(error.to_string().starts_with(&prefix), "{error}");
        assert!(TcpListener::bind("127.0.0.1:8079").is_err(), "the old port was let go");
        drop(TcpListener::bind("127.0.0.1:8080").unwrap());
        drop(taken);
        ports.reserve(&wanted).unwrap();
        assert!(TcpListener::bind("127.0.0.1:8081").is_err());
        let datagrams = PublishedPort { protocol: Protocol::Udp, ..port(None, 8081, "10.89.0.2:81") };
        let held = UdpSocket::bind("127.0.0.1:8081").unwrap();
        let error = ports.reserve(&set(&[datagrams])).unwrap_err();
        assert!(matches!(error, NetError::PortTaken { protocol: Protocol::Udp, owner: Some(_), .. }), "{error}");
        drop(held);
    });
}

#[test]
fn an_address_that_the_host_lacks_is_named() {
    let Some(_world) = World::new() else { return };
    run(async {
        let error = Ports::new().reserve(&set(&[port(Some("192.0.2.99"), 80, "10.89.0.2:80")])).unwrap_err();
        assert_eq!(error.to_string(), "port 192.0.2.99:80/tcp names an address that this host does not have");
        assert_eq!(error.fault(), Fault::Missing);
    });
}

#[test]
fn a_port_that_is_no_longer_wanted_is_free() {
    let Some(_world) = World::new() else { return };
    run(async {
        let mut ports = Ports::new();
        ports.reserve(&set(&[port(None, 8080, "10.89.0.2:80")])).unwrap();
        ports.reserve(&BTreeSet::new()).unwrap();
        while TcpListener::bind("0.0.0.0:8080").is_err() {
            tokio::task::yield_now().await;
        }
    });
}

#[test]
fn a_free_port_is_free_on_every_address() {
    let Some(_world) = World::new() else { return };
    for protocol in [Protocol::Tcp, Protocol::Udp] {
        let number = free_port(protocol).unwrap();
        run(async {
            let wanted = PublishedPort { protocol, ..port(None, number, "10.89.0.2:80") };
            Ports::new().reserve(&set(&[wanted])).unwrap();
        });
    }
}

#[test]
fn the_relay_serves_ipv6_and_follows_a_new_target() {
    let Some(world) = World::new() else { return };
    let front = world.network("front", "10.89.0.1/26", false);
    let one = world.net.create_sandbox(&[endpoint(&front, 2)]).unwrap();
    let two = world.net.create_sandbox(&[endpoint(&front, 3)]).unwrap();
    let _servers = [world.server(&one, 80), world.server(&two, 81)];
    run(async {
        let mut ports = Ports::new();
        let first = [port(None, 8080, "10.89.0.2:80"), port(Some("::1"), 8081, "10.89.0.2:80")];
        ports.reserve(&set(&first)).unwrap();
        // Without rules even IPv4 arrives here.
        assert_eq!(seen("127.0.0.1:8080").await, "10.89.0.1");
        assert_eq!(seen("[::1]:8080").await, "10.89.0.1");
        assert_eq!(seen("[::1]:8081").await, "10.89.0.1");
        assert!(TcpStream::connect("127.0.0.1:8081").await.is_err());
        world.apply(&rules(&[&front], &first));
        assert_eq!(seen("[::1]:8080").await, "10.89.0.1");
        drop(_servers);
        let second = world.server(&two, 82);
        ports.reserve(&set(&[port(None, 8080, "10.89.0.3:82")])).unwrap();
        assert_eq!(seen("[::1]:8080").await, "10.89.0.1");
        drop(second);
    });
}

#[test]
fn the_relay_carries_datagrams_over_ipv6() {
    let Some(world) = World::new() else { return };
    let front = world.network("front", "10.89.0.1/26", false);
    let sandbox = world.net.create_sandbox(&[endpoint(&front, 2)]).unwrap();
    let server = world.inside(&sandbox, || UdpSocket::bind("0.0.0.0:53").unwrap());
    server.set_nonblocking(true).unwrap();
    run(async {
        let server = tokio::net::UdpSocket::from_std(server).unwrap();
        let mut ports = Ports::new();
        let wanted = PublishedPort { protocol: Protocol::Udp, ..port(None, 5353, "10.89.0.2:53") };
        ports.reserve(&set(&[wanted])).unwrap();
        let client = tokio::net::UdpSocket::bind("[::1]:0").await.unwrap();
        let mut buffer = [0; 16];
        for word in ["one", "two"] {
            client.send_to(word.as_bytes(), "[::1]:5353").await.unwrap();
            let (length, from) = server.recv_from(&mut buffer).await.unwrap();
            assert_eq!((&buffer[..length], from.ip().to_string()), (word.as_bytes(), "10.89.0.1".to_owned()));
            server.send_to(b"echo", from).await.unwrap();
            assert_eq!(client.recv(&mut buffer).await.unwrap(), 4);
        }
    });
}
