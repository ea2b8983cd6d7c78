//! The sockets of all containers and the names they are answered from.

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hickory_proto::op::ResponseCode;
use stack_model::{ContainerId, Names, View, Zone};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::answer::{Answer, Transport, answer, failure};
use crate::resolvers::Resolvers;

/// Where a container finds its resolver. Docker's has the same address, so files that name it go on working.
pub const ADDRESS: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(127, 0, 0, 11), 53);

/// Questions that wait for a resolver or for names at one time, over all containers; more are dropped.
const WAITING_MAX: usize = 128;
/// TCP connections at one time, over all containers; more are closed.
const STREAMS_MAX: usize = 64;
/// Datagrams of one container answered in a row before others get their turn.
const BURST: usize = 32;
/// The longest question over UDP; longer ones are cut off and refused.
const QUESTION_BYTES: usize = 2048;
/// A TCP client that says nothing for this long is cut off.
const STREAM_IDLE: Duration = Duration::from_secs(10);
/// A container that asks before its names are known waits this long for them.
const NAMES_PATIENCE: Duration = Duration::from_secs(2);
/// Rest after the process ran out of descriptors.
const ACCEPT_REST: Duration = Duration::from_millis(100);
const RESOLV_CONF: &str = "/etc/resolv.conf";

/// Opens the two sockets of a container. Must be called inside its network namespace; they keep working, and keep it
/// alive, from anywhere.
pub fn open_sockets() -> io::Result<(std::net::UdpSocket, std::net::TcpListener)> {
    let udp = std::net::UdpSocket::bind(ADDRESS)?;
    let tcp = std::net::TcpListener::bind(ADDRESS)?;
    udp.set_nonblocking(true)?;
    tcp.set_nonblocking(true)?;
    Ok((udp, tcp))
}

/// Answers names inside containers. Must be used within a tokio runtime; clones are the same server.
#[derive(Debug, Clone)]
pub struct Server {
    shared: Arc<Shared>,
    tasks: Arc<Mutex<BTreeMap<ContainerId, Task>>>,
}

/// A task that ends when it is dropped, and closes its sockets.
#[derive(Debug)]
struct Task(JoinHandle<()>);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[derive(Debug)]
struct Shared {
    names: watch::Sender<Arc<Published>>,
    resolvers: Resolvers,
    waiting: Arc<Semaphore>,
    streams: Arc<Semaphore>,
    /// Counts answers with several addresses, so that the first of them moves on.
    turn: AtomicUsize,
}

/// Names as they are kept: containers with the same view share one zone.
#[derive(Debug, Default)]
struct Published {
    names: Names,
    zones: BTreeMap<ContainerId, Arc<Zone>>,
}

impl Published {
    fn new(names: Names) -> Self {
        let mut distinct: BTreeMap<&View, Arc<Zone>> = BTreeMap::new();
        let zones = names.views.iter().map(|(id, view)| {
            let zone = distinct.entry(view).or_insert_with(|| Arc::new(names.merge(view)));
            (id.clone(), Arc::clone(zone))
        });
        Self { zones: zones.collect(), names }
    }
}

impl Default for Server {
    fn default() -> Self {
        Self::new()
    }
}

impl Server {
    /// A server without containers and names that asks the resolvers of `/etc/resolv.conf`.
    pub fn new() -> Self {
        Self::with_resolv_conf(RESOLV_CONF)
    }

    /// As [`Server::new`], with another file.
    pub fn with_resolv_conf(path: impl Into<std::path::PathBuf>) -> Self {
        let shared = Shared {
            names: watch::Sender::default(),
            resolvers: Resolvers::new(path),
            waiting: Arc::new(Semaphore::new(WAITING_MAX)),
            streams: Arc::new(Semaphore::new(STREAMS_MAX)),
            turn: AtomicUsize::new(0),
        };
        Self { shared: Arc::new(shared), tasks: Arc::default() }
    }

    /// Begins to answer a container on its sockets; earlier ones of the same container are closed.
    pub fn serve(&self, id: ContainerId, sockets: (std::net::UdpSocket, std::net::TcpListener)) -> io::Result<()> {
        let (udp, tcp) = sockets;
        udp.set_nonblocking(true)?;
        tcp.set_nonblocking(true)?;
        let (udp, tcp) = (UdpSocket::from_std(udp)?, TcpListener::from_std(tcp)?);
        let client = Client { shared: Arc::clone(&self.shared), id: id.clone() };
        let task = Task(tokio::spawn(serve(client, Arc::new(udp), tcp)));
        drop(self.tasks.lock().unwrap_or_else(PoisonError::into_inner).insert(id, task));
        Ok(())
    }

    /// Closes the sockets of a container.
    pub fn remove(&self, id: &ContainerId) {
        drop(self.tasks.lock().unwrap_or_else(PoisonError::into_inner).remove(id));
    }

    /// Answers from these names, all of them at once, from now on.
    pub fn publish(&self, names: Names) {
        self.shared.names.send_replace(Arc::new(Published::new(names)));
    }

    /// The names that are answered now.
    pub fn names(&self) -> Names {
        self.shared.names.borrow().names.clone()
    }
}

/// One container, as a task or a waiting question sees it.
#[derive(Debug, Clone)]
struct Client {
    shared: Arc<Shared>,
    id: ContainerId,
}

impl Client {
    /// The resolvers that the container was given.
    fn servers(&self) -> Vec<std::net::IpAddr> {
        self.zone().map(|zone| zone.servers.clone()).unwrap_or_default()
    }

    fn zone(&self) -> Option<Arc<Zone>> {
        self.shared.names.borrow().zones.get(&self.id).map(Arc::clone)
    }

    /// The answer, if it can be given at once.
    fn answer(&self, packet: &[u8], transport: Transport) -> Option<Answer> {
        let zone = self.zone()?;
        let turn = &self.shared.turn;
        let given = answer(&zone, packet, transport, turn.load(Ordering::Relaxed));
        // Clients ask for A and AAAA in pairs. Counting both would give every client the same of two addresses first.
        if matches!(&given, Answer::Reply(bytes) if bytes.get(6..8).is_some_and(|count| count > &[0, 1][..])) {
            turn.fetch_add(1, Ordering::Relaxed);
        }
        Some(given)
    }

    /// The answer, however long it takes.
    async fn answer_later(&self, packet: &[u8], transport: Transport) -> Option<Vec<u8>> {
        let mut names = self.shared.names.subscribe();
        let known = names.wait_for(|published| published.zones.contains_key(&self.id));
        // The guard that comes back is let go at once: it would hold up the next publication.
        let found = timeout(NAMES_PATIENCE, known).await.is_ok_and(|found| found.is_ok());
        if !found {
            return failure(packet, ResponseCode::ServFail, transport);
        }
        match self.answer(packet, transport)? {
            Answer::Reply(bytes) => Some(bytes),
            Answer::Ignore => None,
            Answer::Forward => match self.shared.resolvers.ask(packet, transport, &self.servers()).await {
                Some(bytes) => Some(bytes),
                None => failure(packet, ResponseCode::ServFail, transport),
            },
        }
    }
}

/// The task of one container. It holds no buffer while it waits.
async fn serve(client: Client, udp: Arc<UdpSocket>, tcp: TcpListener) {
    loop {
        tokio::select! {
            ready = udp.readable() => match ready {
                Ok(()) => answer_datagrams(&client, &udp),
                Err(_) => tokio::time::sleep(ACCEPT_REST).await,
            },
            accepted = tcp.accept() => match accepted {
                // Over the limit the client sees its connection closed; it comes back, or goes without.
                Ok((stream, _)) => if let Ok(permit) = Arc::clone(&client.shared.streams).try_acquire_owned() {
                    drop(tokio::spawn(answer_stream(client.clone(), stream, permit)));
                },
                Err(_) => tokio::time::sleep(ACCEPT_REST).await,
            },
        }
    }
}

/// Answers what has arrived. What needs time goes to a task of its own.
fn answer_datagrams(client: &Client, udp: &Arc<UdpSocket>) {
    let mut buffer = [0; QUESTION_BYTES];
    for _ in 0..BURST {
        let Ok((length, from)) = udp.try_recv_from(&mut buffer) else { return };
        let packet = &buffer[..length];
        match client.answer(packet, Transport::Udp) {
            // A full socket loses the answer, as the network might.
            Some(Answer::Reply(bytes)) => drop(udp.try_send_to(&bytes, from)),
            Some(Answer::Ignore) => {}
            Some(Answer::Forward) | None => answer_datagram_later(client, udp, packet, from),
        }
    }
}

fn answer_datagram_later(client: &Client, udp: &Arc<UdpSocket>, packet: &[u8], from: SocketAddr) {
    let Ok(permit) = Arc::clone(&client.shared.waiting).try_acquire_owned() else { return };
    let (client, udp, packet) = (client.clone(), Arc::clone(udp), packet.to_vec());
    tokio::spawn(async move {
        if let Some(bytes) = client.answer_later(&packet, Transport::Udp).await {
            drop(udp.send_to(&bytes, from).await);
        }
        drop(permit);
    });
}

/// Questions on a stream, one after the other, each with its length before it (RFC 1035, 4.2.2).
async fn answer_stream(client: Client, mut stream: TcpStream, permit: OwnedSemaphorePermit) {
    while let Ok(Ok(packet)) = timeout(STREAM_IDLE, read_packet(&mut stream)).await {
        let Some(bytes) = client.answer_later(&packet, Transport::Tcp).await else { break };
        let Ok(length) = u16::try_from(bytes.len()) else { break };
        let framed = [&length.to_be_bytes(), bytes.as_slice()].concat();
        if !matches!(timeout(STREAM_IDLE, stream.write_all(&framed)).await, Ok(Ok(()))) {
            break;
        }
    }
    drop(permit);
}

async fn read_packet(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut packet = vec![0; usize::from(stream.read_u16().await?)];
    stream.read_exact(&mut packet).await?;
    Ok(packet)
}
