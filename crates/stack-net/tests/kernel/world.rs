//! A host in a namespace, with a project on it and a neighbour on its network.
//!
//! ```text
//!   lan 192.0.2.50 --- uplink 192.0.2.1 [ host ] stk-front 10.89.0.1/26 --- containers
//!                                                stk-back  10.89.0.65/26 -- containers (internal)
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use nix::sched::{CloneFlags, setns};
use stack_model::{
    Endpoint, IfName, LinkOptions, NetworkName, NetworkPlan, NetworkRules, ProjectName, Protocol, PublishedPort,
    Ruleset,
};
use stack_net::{Net, alias};

/// What must happen happens by then.
pub(crate) const DEADLINE: Duration = Duration::from_secs(10);
/// What must not happen is given this long.
const BLOCKED: Duration = Duration::from_millis(300);
pub(crate) const INSTANCE: &str = "7e57";

pub(crate) struct World {
    pub(crate) net: Net,
    pub(crate) home: OwnedFd,
    pub(crate) project: ProjectName,
}

impl World {
    /// Moves the calling thread into a fresh host; `None`, said so, without the privilege.
    pub(crate) fn new() -> Option<Self> {
        if !nix::unistd::geteuid().is_root() {
            #[expect(clippy::print_stdout, reason = "a skipped test says so")]
            {
                println!("SKIP needs root");
            }
            return None;
        }
        let home = Net::start().unwrap().create_sandbox(&[]).unwrap();
        setns(home.as_fd(), CloneFlags::CLONE_NEWNET).unwrap();
        // A sandbox plays the host; unlike a container's, a host's interfaces have IPv6.
        fs_err::write("/proc/sys/net/ipv6/conf/default/disable_ipv6", "0").unwrap();
        Some(Self { net: Net::start().unwrap(), home, project: ProjectName::new("shop") })
    }

    pub(crate) fn alias(&self, network: &str) -> String {
        alias(INSTANCE, &self.project, &NetworkName::new(network))
    }

    /// Makes a network and returns its plan.
    pub(crate) fn network(&self, name: &str, gateway: &str, internal: bool) -> NetworkPlan {
        let plan = plan(name, gateway, internal);
        assert!(self.net.ensure_network(&plan, &self.alias(name)).unwrap());
        plan
    }

    /// A bridge that belongs to nobody's project, with a neighbour on it.
    pub(crate) fn lan(&self) -> OwnedFd {
        let plan = NetworkPlan { bridge: "uplink".into(), ..plan("lan", "192.0.2.1/24", false) };
        self.net.ensure_network(&plan, "the outside").unwrap();
        self.net.create_sandbox(&[endpoint(&plan, 50)]).unwrap()
    }

    pub(crate) fn apply(&self, ruleset: &Ruleset) {
        self.net.apply_ruleset(INSTANCE, &self.project, ruleset).unwrap();
        assert_eq!(self.observed_ruleset().as_ref(), Some(ruleset).filter(|ruleset| !ruleset.is_empty()));
    }

    pub(crate) fn observed_ruleset(&self) -> Option<Ruleset> {
        self.net.observe_ruleset(INSTANCE, &self.project).unwrap()
    }

    /// Runs `work` in a namespace.
    pub(crate) fn inside<T: Send>(&self, namespace: &OwnedFd, work: impl FnOnce() -> T + Send) -> T {
        self.net.in_namespace(namespace.as_fd(), work).unwrap()
    }

    /// A server in a namespace that tells each client the address it sees it by.
    pub(crate) fn server(&self, namespace: &OwnedFd, port: u16) -> Server {
        let listener = self.inside(namespace, || TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).unwrap());
        Server::start(listener)
    }

    /// What a server behind `address` sees a client in a namespace by.
    pub(crate) fn seen(&self, namespace: &OwnedFd, address: &str) -> Option<String> {
        self.inside(namespace, || seen(address))
    }

    /// Whether a client in a namespace cannot reach the server behind `address`.
    pub(crate) fn blocked(&self, namespace: &OwnedFd, address: &str) -> bool {
        self.inside(namespace, || blocked(address))
    }
}

pub(crate) fn plan(name: &str, gateway: &str, internal: bool) -> NetworkPlan {
    NetworkPlan {
        network: name.into(),
        name: format!("shop_{name}"),
        bridge: IfName::new(format!("stk-{name}")),
        gateway: gateway.parse().unwrap(),
        picked: false,
        gateway6: None,
        internal,
        link: LinkOptions::default(),
        routed: false,
    }
}

/// The interface of a container with this last octet, named after it on the host's side.
pub(crate) fn endpoint(plan: &NetworkPlan, last: u8) -> Endpoint {
    let [a, b, c, _] = plan.gateway.addr().octets();
    let address = Ipv4Addr::new(a, b, c, last);
    Endpoint {
        network: plan.network.clone(),
        bridge: plan.bridge.clone(),
        host_interface: IfName::new(format!("{}.{last}", plan.bridge)),
        interface: "eth0".into(),
        address: ipnet::Ipv4Net::new(address, plan.gateway.prefix_len()).unwrap(),
        gateway: Some(plan.gateway.addr()),
        address6: None,
        gateway6: None,
        mac: [2, 0x42, a, b, c, last],
        names: BTreeSet::new(),
        internal: plan.internal,
        link_local: Vec::new(),
        link: plan.link,
    }
}

pub(crate) fn rules(plans: &[&NetworkPlan], ports: &[PublishedPort]) -> Ruleset {
    let networks: BTreeMap<NetworkName, NetworkRules> = plans
        .iter()
        .map(|plan| {
            let rules = NetworkRules {
                bridge: plan.bridge.clone(),
                subnet: plan.gateway.trunc(),
                subnet6: None,
                internal: plan.internal,
                routed: plan.routed,
            };
            (plan.network.clone(), rules)
        })
        .collect();
    Ruleset { networks, ports: ports.iter().cloned().collect() }
}

pub(crate) fn port(host_ip: Option<&str>, host_port: u16, target: &str) -> PublishedPort {
    let target: SocketAddr = target.parse().unwrap();
    let IpAddr::V4(address) = target.ip() else { panic!("{target}") };
    PublishedPort {
        protocol: Protocol::Tcp,
        host_ip: host_ip.map(|ip| ip.parse().unwrap()),
        host_port,
        address,
        target: target.port(),
    }
}

/// What the server behind `address` sees the calling thread by; `None` if it cannot be reached.
pub(crate) fn seen(address: &str) -> Option<String> {
    connect(address, DEADLINE)
}

/// Whether the calling thread cannot reach the server behind `address`.
pub(crate) fn blocked(address: &str) -> bool {
    connect(address, BLOCKED).is_none()
}

fn connect(address: &str, patience: Duration) -> Option<String> {
    let mut stream = TcpStream::connect_timeout(&address.parse().unwrap(), patience).ok()?;
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    Some(text)
}

/// Ends, and closes its socket, when it is dropped.
pub(crate) struct Server {
    listener: Arc<TcpListener>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    fn start(listener: TcpListener) -> Self {
        let listener = Arc::new(listener);
        let accepting = Arc::clone(&listener);
        let thread = std::thread::spawn(move || {
            while let Ok((mut stream, client)) = accepting.accept() {
                std::io::Write::write_all(&mut stream, client.ip().to_string().as_bytes()).unwrap();
            }
        });
        Self { listener, thread: Some(thread) }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        nix::sys::socket::shutdown(self.listener.as_raw_fd(), nix::sys::socket::Shutdown::Both).unwrap();
        self.thread.take().unwrap().join().unwrap();
    }
}

/// The names of all links in the calling thread's namespace.
pub(crate) fn link_names() -> BTreeSet<String> {
    nix::net::if_::if_nameindex().unwrap().iter().map(|link| link.name().to_string_lossy().into_owned()).collect()
}

/// Tries until `check` says so or the deadline is over.
pub(crate) fn eventually(mut check: impl FnMut() -> bool) {
    let deadline = std::time::Instant::now() + DEADLINE;
    while !check() {
        assert!(std::time::Instant::now() < deadline, "it never happened");
        std::thread::yield_now();
    }
}
