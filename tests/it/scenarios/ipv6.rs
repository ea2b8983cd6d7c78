//! Networks of IPv6.

use std::net::{Ipv6Addr, SocketAddr, TcpStream};
use std::process::Command;
use std::time::Duration;

use stack_tests::{World, eventually};

const TEXT: &str = "
services:
  web:
    image: 127.0.0.1:5000/test/busybox:1
    init: true
    command: [sh, -c, 'mkdir /www; echo hello six > /www/index.html; exec httpd -f -p 8080 -h /www']
    networks: {own: {ipv6_address: 'fd12:3456::10'}, default: }
    ports: ['48082:8080']
  client:
    image: stack.local/self
    command: [demo, sleep]
  stranger:
    image: stack.local/self
    command: [demo, sleep]
    networks: [far]
networks:
  default: {enable_ipv6: true}
  far: {enable_ipv6: true}
  own: {enable_ipv6: true, internal: true, ipam: {config: [{subnet: 'fd12:3456::/64', gateway: 'fd12:3456::fe'}]}}
";

fn ip(arguments: &str) -> String {
    #[expect(clippy::disallowed_methods, reason = "a second opinion on the kernel")]
    let output = Command::new("ip").args(arguments.split(' ')).output().expect("ip");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn connects(address: Ipv6Addr, port: u16) -> Result<(), String> {
    let connected = TcpStream::connect_timeout(&SocketAddr::from((address, port)), Duration::from_secs(5));
    connected.map(drop).map_err(|error| error.to_string())
}

#[test]
fn a_network_with_ipv6_has_addresses_names_and_a_way_out() {
    let world = World::new("six");
    world.write("compose.yaml", TEXT);
    world.stack(&["up", "-d"]).ok();
    let endpoint = |container: &str, network: &str| {
        let record = world.records()[container].clone();
        let list = record["endpoints"].as_array().unwrap().clone();
        list.into_iter().find(|endpoint| endpoint["network"] == network).expect("it is on the network")
    };
    let address = |endpoint: &serde_json::Value| -> Ipv6Addr {
        endpoint["address6"].as_str().unwrap().split('/').next().unwrap().parse().unwrap()
    };
    let (fixed, chosen) = (endpoint("six-web-1", "own"), endpoint("six-web-1", "default"));
    assert_eq!(fixed["address6"], "fd12:3456::10/64");
    assert!(fixed["gateway6"].is_null(), "it leads nowhere: {fixed}");
    let chosen = address(&chosen);
    assert_eq!(chosen.octets()[0], 0xfd);
    let inside = |line: &str| world.stack(&["exec", "-T", "web", "sh", "-c", line]).stdout;
    let check = |service: &str, host: &str| {
        world.stack(&["exec", "-T", service, "/stack", "demo", "check", &format!("http://{host}:8080/")])
    };
    // By address, by name, and from this host, also by the published port.
    eventually("the page is there", || {
        let run = check("client", &format!("[{chosen}]"));
        if run.code == Some(0) { Ok(()) } else { Err(run.stderr) }
    });
    let answer = inside("nslookup -type=aaaa client 127.0.0.11");
    let client = address(&endpoint("six-client-1", "default"));
    assert!(answer.contains(&client.segments().map(|part| format!("{part:x}")).join(":")), "{answer}");
    check("client", "web").ok();
    let hosts = inside("cat /etc/hosts");
    assert!(hosts.contains(&format!("{chosen}\t")), "{hosts}");
    for (address, port) in [(chosen, 8080), ("fd12:3456::10".parse().unwrap(), 8080), (Ipv6Addr::LOCALHOST, 48082)] {
        eventually(&format!("{address} answers on {port}"), || connects(address, port));
    }
    let routes = inside("ip -6 route");
    assert!(routes.contains("default via fd"), "{routes}");
    // Networks are apart, and a stranger has no way to an address that is no published port.
    assert_ne!(check("stranger", &format!("[{chosen}]")).code, Some(0));
    // What is taken away comes back.
    let (bridge, gateway) = (fixed["bridge"].as_str().unwrap().to_owned(), "fd12:3456::fe/64");
    assert!(ip(&format!("-6 address show dev {bridge}")).contains(gateway));
    ip(&format!("-6 address del {gateway} dev {bridge}"));
    eventually("the address is put back", || {
        let shown = ip(&format!("-6 address show dev {bridge}"));
        if shown.contains(gateway) { Ok(()) } else { Err(shown) }
    });
    // The network loses it again with the line of the file, and containers follow.
    world.write("compose.yaml", &TEXT.replace("default: {enable_ipv6: true}", "default: {}"));
    eventually("no address of IPv6 is left", || {
        let client =
            world.records().get("six-client-1").map_or(serde_json::Value::Null, |it| it["endpoints"][0].clone());
        let shown = ip(&format!("-6 address show dev {}", client["bridge"].as_str().unwrap_or_default()));
        let none = client.is_object() && client["address6"].is_null() && !shown.contains("fd");
        if none && world.pids().len() == 3 { Ok(()) } else { Err(format!("{client} {shown}")) }
    });
}
