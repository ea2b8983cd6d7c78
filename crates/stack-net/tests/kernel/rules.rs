use std::net::{Ipv4Addr, UdpSocket};
use std::os::fd::AsFd;
use std::time::Instant;

use netlink_packet_core::{NLM_F_ACK, NLM_F_APPEND, NLM_F_CREATE, NLM_F_REQUEST, NetlinkMessage};
use netlink_packet_netfilter::nftables::{NfTablesMessage, RuleAttribute, RuleMessage, TableAttribute, TableMessage};
use netlink_packet_netfilter::none::ControlMessage;
use netlink_packet_netfilter::{NetfilterHeader, NetfilterMessage, NetfilterMessageInner, NetfilterProtoFamily};
use netlink_sys::protocols::NETLINK_NETFILTER;
use netlink_sys::{Socket, SocketAddr};
use nix::sched::{CloneFlags, setns};
use stack_model::{PublishedPort, Ruleset};
use stack_net::nft::table_name;

use crate::world::{DEADLINE, INSTANCE, World, blocked, endpoint, port, rules, seen};

/// One change of rules by somebody else's hand.
fn by_hand(inner: NfTablesMessage) {
    let inners: [NetfilterMessageInner; 3] =
        [ControlMessage::BatchBegin.into(), inner.into(), ControlMessage::BatchEnd.into()];
    let mut bytes = Vec::new();
    for (number, inner) in inners.into_iter().enumerate() {
        let header = NetfilterHeader::new(NetfilterProtoFamily::Inet, 0, if number == 1 { 0 } else { 10 });
        let mut message = NetlinkMessage::from(NetfilterMessage::new(header, inner));
        let flags = NLM_F_ACK | NLM_F_CREATE | NLM_F_APPEND;
        message.header.flags = NLM_F_REQUEST | if number == 1 { flags } else { 0 };
        message.finalize();
        let start = bytes.len();
        bytes.resize(start + message.buffer_len().next_multiple_of(4), 0);
        message.serialize(&mut bytes[start..]);
    }
    let socket = Socket::new(NETLINK_NETFILTER).unwrap();
    socket.send_to(&bytes, &SocketAddr::new(0, 0), 0).unwrap();
    let (answer, _) = socket.recv_from_full().unwrap();
    assert_eq!(answer[16..20], [0; 4], "the kernel refused a change by hand");
}

fn flush(table: &str) {
    by_hand(NfTablesMessage::DeleteRule(RuleMessage { attributes: vec![RuleAttribute::Table(table.to_owned())] }));
}

fn delete_table(table: &str) {
    by_hand(NfTablesMessage::DeleteTable(TableMessage { attributes: vec![TableAttribute::Name(table.to_owned())] }));
}

fn project(world: &World) -> (stack_model::NetworkPlan, stack_model::NetworkPlan) {
    (world.network("front", "10.89.0.1/26", false), world.network("back", "10.89.1.1/26", true))
}

#[test]
fn containers_look_like_the_host_to_the_outside() {
    let Some(world) = World::new() else { return };
    let (front, back) = project(&world);
    let lan = world.lan();
    let _server = world.server(&lan, 80);
    let open = world.net.create_sandbox(&[endpoint(&front, 2)]).unwrap();
    // It has a default route, as a container that may change its routes can give itself.
    let shut = world.net.create_sandbox(&[endpoint(&back, 2)]).unwrap();
    world.apply(&rules(&[&front, &back], &[]));
    assert_eq!(world.seen(&open, "192.0.2.50:80").as_deref(), Some("192.0.2.1"));
    assert!(world.blocked(&shut, "192.0.2.50:80"));
}

#[test]
fn a_published_port_is_reached_from_everywhere() {
    let Some(world) = World::new() else { return };
    let (front, back) = project(&world);
    let lan = world.lan();
    let web = world.net.create_sandbox(&[endpoint(&front, 2)]).unwrap();
    let neighbour = world.net.create_sandbox(&[endpoint(&front, 3)]).unwrap();
    let _server = world.server(&web, 80);
    world.apply(&rules(&[&front, &back], &[port(None, 8080, "10.89.0.2:80")]));
    assert_eq!(world.seen(&lan, "192.0.2.1:8080").as_deref(), Some("192.0.2.50"));
    assert_eq!(seen("127.0.0.1:8080").as_deref(), Some("10.89.0.1"));
    assert_eq!(seen("192.0.2.1:8080").as_deref(), Some("192.0.2.1"));
    assert_eq!(seen("10.89.0.1:8080").as_deref(), Some("10.89.0.1"));
    assert_eq!(world.seen(&neighbour, "192.0.2.1:8080").as_deref(), Some("10.89.0.1"));
    assert_eq!(world.seen(&neighbour, "10.89.0.1:8080").as_deref(), Some("10.89.0.1"));
    assert_eq!(world.seen(&web, "192.0.2.1:8080").as_deref(), Some("10.89.0.1"));
    assert!(world.blocked(&lan, "192.0.2.1:8081"));
    // A port that changes its target leads there at once.
    let _other = world.server(&neighbour, 81);
    world.apply(&rules(&[&front, &back], &[port(None, 8080, "10.89.0.3:81")]));
    assert_eq!(world.seen(&web, "10.89.0.1:8080").as_deref(), Some("10.89.0.1"));
    assert_eq!(world.seen(&lan, "192.0.2.1:8080").as_deref(), Some("192.0.2.50"));
}

#[test]
fn a_published_port_carries_datagrams() {
    let Some(world) = World::new() else { return };
    let (front, _) = project(&world);
    let lan = world.lan();
    let web = world.net.create_sandbox(&[endpoint(&front, 2)]).unwrap();
    let server = world.inside(&web, || UdpSocket::bind("0.0.0.0:53").unwrap());
    server.set_read_timeout(Some(DEADLINE)).unwrap();
    let published = PublishedPort { protocol: stack_model::Protocol::Udp, ..port(None, 5300, "10.89.0.2:53") };
    world.apply(&rules(&[&front], &[published]));
    let ask = |address: &str| {
        let client = UdpSocket::bind("0.0.0.0:0").unwrap();
        client.connect(address).unwrap();
        client.set_read_timeout(Some(DEADLINE)).unwrap();
        client.send(b"ping").unwrap();
        let mut buffer = [0; 16];
        let (length, from) = server.recv_from(&mut buffer).unwrap();
        server.send_to(&buffer[..length], from).unwrap();
        // The socket is connected: an answer from any other address would not arrive.
        assert_eq!(client.recv(&mut buffer).unwrap(), 4);
        from.ip().to_string()
    };
    assert_eq!(world.inside(&lan, || ask("192.0.2.1:5300")), "192.0.2.50");
    assert_eq!(ask("127.0.0.1:5300"), "10.89.0.1");
}

#[test]
fn a_client_that_keeps_sending_reaches_the_container_that_took_over() {
    let Some(world) = World::new() else { return };
    let (front, _) = project(&world);
    let lan = world.lan();
    let servers = [2, 3].map(|last| {
        let sandbox = world.net.create_sandbox(&[endpoint(&front, last)]).unwrap();
        let server = world.inside(&sandbox, || UdpSocket::bind("0.0.0.0:53").unwrap());
        server.set_read_timeout(Some(DEADLINE)).unwrap();
        server
    });
    let client = world.inside(&lan, || UdpSocket::bind("0.0.0.0:7000").unwrap());
    for (server, target) in servers.iter().zip(["10.89.0.2:53", "10.89.0.3:53"]) {
        let published = PublishedPort { protocol: stack_model::Protocol::Udp, ..port(None, 5300, target) };
        world.apply(&rules(&[&front], std::slice::from_ref(&published)));
        for word in [b"one", b"two"] {
            client.send_to(word, "192.0.2.1:5300").unwrap();
            let mut buffer = [0; 3];
            server.recv_from(&mut buffer).unwrap();
            assert_eq!(&buffer, word);
        }
        // The same rules again disturb nothing.
        world.apply(&rules(&[&front], &[published]));
    }
}

#[test]
fn a_port_of_one_address_is_reached_by_that_address_only() {
    let Some(world) = World::new() else { return };
    let (front, _) = project(&world);
    let lan = world.lan();
    let web = world.net.create_sandbox(&[endpoint(&front, 2)]).unwrap();
    let _server = world.server(&web, 80);
    let ports = [port(Some("127.0.0.1"), 8080, "10.89.0.2:80"), port(Some("192.0.2.1"), 8081, "10.89.0.2:80")];
    world.apply(&rules(&[&front], &ports));
    assert_eq!(seen("127.0.0.1:8080").as_deref(), Some("10.89.0.1"));
    assert!(world.blocked(&lan, "192.0.2.1:8080"));
    assert_eq!(world.seen(&lan, "192.0.2.1:8081").as_deref(), Some("192.0.2.50"));
    assert!(blocked("127.0.0.1:8081"));
}

#[test]
fn networks_are_kept_apart_and_containers_are_not_reached_from_outside() {
    let Some(world) = World::new() else { return };
    let (front, back) = project(&world);
    let side = world.network("side", "10.89.2.1/26", false);
    let lan = world.lan();
    let web = world.net.create_sandbox(&[endpoint(&front, 2)]).unwrap();
    let other = world.net.create_sandbox(&[endpoint(&side, 2)]).unwrap();
    let inner = world.net.create_sandbox(&[endpoint(&back, 2)]).unwrap();
    let _servers = [world.server(&web, 80), world.server(&other, 80), world.server(&inner, 80)];
    // Without rules the host forwards everything: the attacks work, so what follows proves something.
    assert_eq!(world.seen(&lan, "10.89.0.2:80").as_deref(), Some("192.0.2.50"));
    assert_eq!(world.seen(&web, "10.89.2.2:80").as_deref(), Some("10.89.0.2"));
    world.apply(&rules(&[&front, &back, &side], &[port(None, 8080, "10.89.0.2:80")]));
    for address in ["10.89.0.2:80", "10.89.1.2:80", "10.89.2.2:80"] {
        assert!(world.blocked(&lan, address), "{address} from the outside");
    }
    assert!(world.blocked(&web, "10.89.2.2:80"));
    assert!(world.blocked(&web, "10.89.1.2:80"));
    assert!(world.blocked(&inner, "10.89.0.2:80"));
    assert!(world.blocked(&inner, "192.0.2.1:8080"), "an internal network reached a published port");
    // The host itself reaches all of them.
    assert_eq!(seen("10.89.1.2:80").as_deref(), Some("10.89.1.1"));
}

/// An IPv4 and UDP packet; without a checksum, which UDP allows.
fn datagram(source: Ipv4Addr, destination: Ipv4Addr, port: u16, payload: &[u8]) -> Vec<u8> {
    let length = 28 + payload.len() as u16;
    let mut header = vec![0x45, 0];
    header.extend(length.to_be_bytes());
    header.extend([0, 0, 0, 0, 64, 17, 0, 0]);
    header.extend(source.octets());
    header.extend(destination.octets());
    let sum: u32 = header.chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
    let folded = !((sum & 0xffff) as u16 + (sum >> 16) as u16);
    header[10..12].copy_from_slice(&folded.to_be_bytes());
    header.extend(4000_u16.to_be_bytes());
    header.extend(port.to_be_bytes());
    header.extend((length - 20).to_be_bytes());
    header.extend([0, 0]);
    header.extend(payload);
    header
}

/// Sends an IP packet to the router of the calling thread's namespace, whatever its destination address.
fn send_to_router(packet: &[u8], router: [u8; 6]) {
    use nix::sys::socket::{AddressFamily, LinkAddr, MsgFlags, SockFlag, SockType, SockaddrLike, sendto, socket};
    const ETHERTYPE_IPV4: u16 = 0x0800;
    let index = nix::net::if_::if_nametoindex("eth0").unwrap();
    let socket = socket(AddressFamily::Packet, SockType::Raw, SockFlag::empty(), None).unwrap();
    let source = fs_err::read_to_string("/sys/class/net/eth0/address").unwrap_or_default();
    assert!(source.is_empty() || source.contains(':'));
    let mut frame = router.to_vec();
    frame.extend([2, 0x42, 192, 0, 2, 50]);
    frame.extend(ETHERTYPE_IPV4.to_be_bytes());
    frame.extend(packet);
    // struct sockaddr_ll: family, protocol, index, then nothing that raw sockets read.
    let mut raw = [0_u8; 20];
    raw[0..2].copy_from_slice(&(nix::libc::AF_PACKET as u16).to_ne_bytes());
    raw[4..8].copy_from_slice(&(index as i32).to_ne_bytes());
    let address = packet_address(&raw);
    sendto(std::os::fd::AsRawFd::as_raw_fd(&socket), &frame, &address, MsgFlags::empty()).unwrap();
    fn packet_address(raw: &[u8; 20]) -> LinkAddr {
        let found = nix::ifaddrs::getifaddrs().unwrap().find_map(|interface| {
            let address = interface.address?;
            let link = address.as_link_addr()?;
            (interface.interface_name == "eth0").then_some(*link)
        });
        let link = found.unwrap();
        assert_eq!(link.ifindex(), i32::from_ne_bytes(raw[4..8].try_into().unwrap()) as usize);
        assert!(link.len() as usize >= raw.len());
        link
    }
}

#[test]
fn loopback_addresses_are_not_reached_from_outside() {
    let Some(world) = World::new() else { return };
    let (front, _) = project(&world);
    let lan = world.lan();
    let victim = UdpSocket::bind("127.0.0.1:9999").unwrap();
    victim.set_read_timeout(Some(DEADLINE)).unwrap();
    let attack = |payload: &[u8]| {
        let packet = datagram(Ipv4Addr::new(192, 0, 2, 50), Ipv4Addr::LOCALHOST, 9999, payload);
        world.inside(&lan, || send_to_router(&packet, [2, 0x42, 192, 0, 2, 1]));
    };
    let mut buffer = [0; 64];
    let mut received = || {
        let (length, _) = victim.recv_from(&mut buffer).unwrap();
        String::from_utf8_lossy(&buffer[..length]).into_owned()
    };
    // `route_localnet` on the bridges lets it in where there are no rules.
    attack(b"before");
    assert_eq!(received(), "before");
    world.apply(&rules(&[&front], &[]));
    attack(b"after");
    UdpSocket::bind("127.0.0.1:0").unwrap().send_to(b"friend", "127.0.0.1:9999").unwrap();
    assert_eq!(received(), "friend");
}

#[test]
fn a_ruleset_is_read_back_whole() {
    let Some(world) = World::new() else { return };
    let (front, back) = project(&world);
    assert_eq!(world.observed_ruleset(), None);
    let udp = PublishedPort { protocol: stack_model::Protocol::Udp, ..port(None, 53, "10.89.0.2:53") };
    let few = [port(None, 80, "10.89.0.2:80"), port(Some("127.0.0.1"), 81, "10.89.0.2:81"), udp];
    world.apply(&rules(&[&front, &back], &few));
    world.apply(&rules(&[&front], &[port(Some("::1"), 82, "10.89.0.2:82")]));
    world.apply(&rules(&[], &few));
    let many: Vec<PublishedPort> = (1000..6000).map(|number| port(None, number, "10.89.0.2:80")).collect();
    world.apply(&rules(&[&front, &back], &many));
    let hundred = rules(&[&front, &back], &many[..100]);
    world.apply(&hundred);
    let start = Instant::now();
    world.net.apply_ruleset(INSTANCE, &world.project, &hundred).unwrap();
    let applied = start.elapsed();
    let start = Instant::now();
    assert_eq!(world.observed_ruleset(), Some(hundred));
    println!("100 ports: apply {applied:?}, observe {:?}", start.elapsed());
    world.apply(&Ruleset::default());
    world.apply(&Ruleset::default());
}

#[test]
fn a_ruleset_changed_by_hand_is_seen() {
    let Some(world) = World::new() else { return };
    let (front, back) = project(&world);
    let table = table_name(INSTANCE, &world.project);
    let ruleset = rules(&[&front, &back], &[port(None, 80, "10.89.0.2:80")]);
    world.apply(&ruleset);
    flush(&table);
    assert_eq!(world.observed_ruleset(), None);
    world.apply(&ruleset);
    delete_table(&table);
    assert_eq!(world.observed_ruleset(), None);
    world.apply(&ruleset);
    let extra = vec![
        RuleAttribute::Table(table.clone()),
        RuleAttribute::Chain("forward".to_owned()),
        RuleAttribute::Expressions(Vec::new()),
    ];
    by_hand(NfTablesMessage::NewRule(RuleMessage { attributes: extra }));
    assert_eq!(world.observed_ruleset(), None);
    world.apply(&ruleset);
}

#[test]
fn other_tables_are_never_touched() {
    let Some(world) = World::new() else { return };
    let (front, _) = project(&world);
    let name = TableAttribute::Name("admin".to_owned());
    by_hand(NfTablesMessage::NewTable(TableMessage { attributes: vec![name] }));
    world.apply(&rules(&[&front], &[]));
    let neighbour = stack_model::ProjectName::new("shop2");
    world.net.apply_ruleset(INSTANCE, &neighbour, &rules(&[], &[port(None, 80, "10.0.0.1:80")])).unwrap();
    world.apply(&Ruleset::default());
    assert!(world.net.observe_ruleset(INSTANCE, &neighbour).unwrap().is_some());
    delete_table("admin");
}

#[test]
fn rules_are_those_of_the_namespace_the_handle_was_started_in() {
    let Some(world) = World::new() else { return };
    let (front, _) = project(&world);
    let elsewhere = world.net.create_sandbox(&[]).unwrap();
    setns(elsewhere.as_fd(), CloneFlags::CLONE_NEWNET).unwrap();
    world.apply(&rules(&[&front], &[]));
    assert_eq!(stack_net::Net::start().unwrap().observe_ruleset(INSTANCE, &world.project).unwrap(), None);
    setns(world.home.as_fd(), CloneFlags::CLONE_NEWNET).unwrap();
    assert!(world.observed_ruleset().is_some());
}
