//! The network of a build: a bridge with a way out, an address for each step that runs a program, and names.
//!
//! It is made for the first RUN that wants it and goes with the build. What a build that died has left is removed by
//! the next one, by names that follow from the build's own.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use fs_err as fs;
use ipnet::Ipv4Net;
use stack_dns::Server;
use stack_model::{
    ContainerId, Endpoint, IfName, Layout, LinkOptions, Names, NetworkName, NetworkPlan, NetworkRules, ProjectName,
    Ruleset, View, short_hex,
};
use stack_net::{Net, NetError};

use crate::error::BuildError;

/// Builds take the highest subnet that is free: projects begin at the low end of the same pool and keep what they have.
const POOL: Ipv4Net = Ipv4Net::new_assert(Ipv4Addr::new(10, 255, 0, 0), 16);
/// Room for more steps than ever run at once.
const PREFIX: u8 = 26;
/// Builds that may begin at the same time on one host, each taking the subnet that another wanted.
const TRIES_MAX: usize = 64;
/// Exists in the directory of a build that has made, or is about to make, a network.
const MARK: &str = "network";
const RESOLV_CONF: &str = "/etc/resolv.conf";

/// The network of one build.
pub(crate) struct BuildNet {
    net: Net,
    names: BuildNames,
    gateway: Ipv4Net,
    /// Numbers of the addresses in use.
    taken: Mutex<BTreeSet<u32>>,
    server: Server,
    /// Answers names; the server's tasks live in it.
    answering: Answering,
    /// Steps that look up names.
    views: Mutex<BTreeSet<ContainerId>>,
}

/// What the kernel's objects are called.
#[derive(Debug, Clone)]
struct BuildNames {
    instance: String,
    project: ProjectName,
    network: NetworkName,
    bridge: IfName,
}

/// A thread with an event loop.
struct Answering {
    handle: tokio::runtime::Handle,
    stop: Option<tokio::sync::oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Answering {
    fn start() -> std::io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let (stop, stopped) = tokio::sync::oneshot::channel();
        let thread = std::thread::Builder::new().name("build-names".to_owned()).spawn(move || {
            // Either way it is over.
            drop(runtime.block_on(stopped));
        })?;
        Ok(Self { handle, stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        drop(self.stop.take());
        // A name server that panicked has nothing to add.
        drop(self.thread.take().map(std::thread::JoinHandle::join));
    }
}

impl BuildNames {
    fn new(layout: &Layout, project: &ProjectName) -> Self {
        let instance = layout.instance();
        let bridge = IfName::new(format!("stb-{}", short_hex(&[&instance, project.as_str()], 8)));
        Self { instance, project: project.clone(), network: NetworkName::new("build"), bridge }
    }

    fn alias(&self) -> String {
        stack_net::alias(&self.instance, &self.project, &self.network)
    }

    fn plan(&self, gateway: Ipv4Net) -> NetworkPlan {
        NetworkPlan {
            network: self.network.clone(),
            name: "build".to_owned(),
            bridge: self.bridge.clone(),
            gateway,
            picked: true,
            gateway6: None,
            internal: false,
            link: LinkOptions::default(),
            routed: false,
        }
    }
}

/// A step's place on the network; it goes with the value.
pub(crate) struct Place<'n> {
    owner: &'n BuildNet,
    container: ContainerId,
    number: u32,
    namespace: OwnedFd,
}

impl BuildNet {
    /// Makes the network of a build whose directory is `directory`.
    pub(crate) fn open(layout: &Layout, project: &ProjectName, directory: &Path) -> Result<Self, BuildError> {
        let names = BuildNames::new(layout, project);
        let mark = mark(directory);
        fs::write(&mark, b"").map_err(BuildError::io("write", &mark))?;
        let answering = Answering::start().map_err(BuildError::io("start the name server of", directory))?;
        let net = Net::start()?;
        let gateway = make_bridge(&net, &names)?;
        let rules = NetworkRules {
            bridge: names.bridge.clone(),
            subnet: gateway.trunc(),
            subnet6: None,
            internal: false,
            routed: false,
        };
        let ruleset = Ruleset { networks: [(names.network.clone(), rules)].into(), ..Ruleset::default() };
        net.apply_ruleset(&names.instance, &names.project, &ruleset)?;
        let server = Server::new();
        let (taken, views) = (Mutex::default(), Mutex::default());
        Ok(Self { net, names, gateway, taken, server, answering, views })
    }

    /// The host, as a step sees it.
    pub(crate) fn gateway(&self) -> Ipv4Addr {
        self.gateway.addr()
    }

    /// A namespace with an address and names.
    pub(crate) fn join(&self, container: &ContainerId) -> Result<Place<'_>, BuildError> {
        let number = self.take_number()?;
        let sandbox = self.sandbox(container, number);
        sandbox.inspect_err(|_| self.release(container, number)).map(|namespace| Place {
            owner: self,
            container: container.clone(),
            number,
            namespace,
        })
    }

    fn take_number(&self) -> Result<u32, BuildError> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        // The first host is the bridge, the last address is the broadcast.
        let free = (2..(1 << (32 - PREFIX)) - 1).find(|number| !taken.contains(number));
        let free = free.ok_or_else(|| BuildError::request("too many steps run at the same time"))?;
        taken.insert(free);
        Ok(free)
    }

    fn sandbox(&self, container: &ContainerId, number: u32) -> Result<OwnedFd, BuildError> {
        let address = Ipv4Addr::from(u32::from(self.gateway.network()) + number);
        let [a, b, c, d] = address.octets();
        let endpoint = Endpoint {
            network: self.names.network.clone(),
            bridge: self.names.bridge.clone(),
            host_interface: IfName::new(format!(
                "stv-{}",
                short_hex(&[self.names.bridge.as_str(), container.as_str()], 8)
            )),
            interface: IfName::new("eth0"),
            address: Ipv4Net::new_assert(address, PREFIX),
            gateway: Some(self.gateway()),
            address6: None,
            gateway6: None,
            mac: [0x02, 0x42, a, b, c, d],
            names: BTreeSet::new(),
            internal: false,
            link_local: Vec::new(),
            link: LinkOptions::default(),
        };
        let namespace = self.net.create_sandbox(&[endpoint])?;
        let sockets = self.net.in_namespace(namespace.as_fd(), stack_dns::open_sockets)?;
        let sockets = sockets.map_err(BuildError::io("open the name server of", RESOLV_CONF))?;
        self.views.lock().unwrap_or_else(PoisonError::into_inner).insert(container.clone());
        self.publish();
        let _in_runtime = self.answering.handle.enter();
        self.server.serve(container.clone(), sockets).map_err(BuildError::io("answer names of", RESOLV_CONF))?;
        Ok(namespace)
    }

    /// No step knows another; all names are the host's to look up.
    fn publish(&self) {
        let views = self.views.lock().unwrap_or_else(PoisonError::into_inner);
        let view = View { forward: true, ..View::default() };
        let views = views.iter().map(|container| (container.clone(), view.clone())).collect();
        self.server.publish(Names { networks: BTreeMap::new(), views });
    }

    fn release(&self, container: &ContainerId, number: u32) {
        self.server.remove(container);
        self.views.lock().unwrap_or_else(PoisonError::into_inner).remove(container);
        self.publish();
        self.taken.lock().unwrap_or_else(PoisonError::into_inner).remove(&number);
    }

    /// The resolvers of a step: ours, with the host's search list.
    pub(crate) fn resolv_conf() -> String {
        let host = fs::read_to_string(RESOLV_CONF).unwrap_or_default();
        let kept = host.lines().filter(|line| line.starts_with("search ") || line.starts_with("options "));
        std::iter::once(format!("nameserver {}", stack_dns::ADDRESS.ip()))
            .chain(kept.map(str::to_owned))
            .map(|line| line + "\n")
            .collect()
    }
}

impl Place<'_> {
    pub(crate) fn namespace(&self) -> &OwnedFd {
        &self.namespace
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.owner.release(&self.container, self.number);
    }
}

impl Drop for BuildNet {
    fn drop(&mut self) {
        // What cannot be removed is found by its mark, and removed by the next build.
        drop(take_down(&self.net, &self.names));
    }
}

/// Removes the network that the build of a directory has left, if it had one.
pub(crate) fn sweep(layout: &Layout, project: &ProjectName, directory: &Path) -> Result<(), BuildError> {
    if !mark(directory).exists() {
        return Ok(());
    }
    take_down(&Net::start()?, &BuildNames::new(layout, project))
}

fn mark(directory: &Path) -> PathBuf {
    directory.join(MARK)
}

fn take_down(net: &Net, names: &BuildNames) -> Result<(), BuildError> {
    net.apply_ruleset(&names.instance, &names.project, &Ruleset::default())?;
    net.remove_network(&names.bridge)?;
    Ok(())
}

/// Makes the bridge in a subnet that is free. Somebody else may take it between the look and the making; then another
/// one is chosen.
fn make_bridge(net: &Net, names: &BuildNames) -> Result<Ipv4Net, BuildError> {
    let mut tries = 1..=TRIES_MAX;
    loop {
        let routes = net.observe(&names.instance, &names.project)?.routes;
        let gateway = free_gateway(&routes)
            .ok_or_else(|| BuildError::request(format!("no subnet of {POOL} is free for the network of RUN")))?;
        match net.ensure_network(&names.plan(gateway), &names.alias()) {
            Err(NetError::SubnetClash { .. }) if tries.next().is_some() => {}
            made => return made.map(|_| gateway).map_err(BuildError::from),
        }
    }
}

/// The address of the bridge in the highest subnet that is clear of the host's routes.
fn free_gateway(routes: &[Ipv4Net]) -> Option<Ipv4Net> {
    let overlap = |a: &Ipv4Net, b: &Ipv4Net| a.contains(&b.network()) || b.contains(&a.network());
    let subnets: Vec<Ipv4Net> = POOL.subnets(PREFIX).ok()?.collect();
    let subnet = subnets.into_iter().rev().find(|subnet| !routes.iter().any(|route| overlap(route, subnet)))?;
    Ipv4Net::new(subnet.hosts().next()?, PREFIX).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_free_subnet_is_taken() {
        let gateway = |routes: &[&str]| {
            let routes: Vec<Ipv4Net> = routes.iter().map(|route| route.parse().unwrap()).collect();
            free_gateway(&routes).map(|gateway| gateway.to_string())
        };
        assert_eq!(gateway(&[]).as_deref(), Some("10.255.255.193/26"));
        assert_eq!(gateway(&["10.255.255.192/26", "10.255.255.144/28"]).as_deref(), Some("10.255.255.65/26"));
        assert_eq!(gateway(&["10.0.0.0/8"]), None);
    }
}
