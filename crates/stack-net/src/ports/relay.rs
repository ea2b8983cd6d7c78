//! Copies bytes between a listening socket of the host and a container, where the kernel does not forward.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use stack_model::{Protocol, PublishedPort};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

/// Patience with a container that does not answer a connection.
const CONNECT_PATIENCE: Duration = Duration::from_secs(10);
/// Rest after the process ran out of descriptors or memory.
const ACCEPT_REST: Duration = Duration::from_millis(100);
/// A UDP client that has been silent this long is forgotten.
const UDP_IDLE: Duration = Duration::from_secs(60);
/// UDP clients of one port at one time; packets of more are dropped.
const UDP_CLIENTS_MAX: usize = 256;
/// The largest UDP datagram.
const DATAGRAM_BYTES: usize = 64 << 10;

/// Where a port leads; may change while connections go on.
#[derive(Debug, Clone)]
pub(super) struct Target(Arc<Mutex<SocketAddrV4>>);

impl Target {
    pub(super) fn new(port: &PublishedPort) -> Self {
        Self(Arc::new(Mutex::new(SocketAddrV4::new(port.address, port.target))))
    }

    /// New connections go there.
    pub(super) fn set(&self, port: &PublishedPort) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = SocketAddrV4::new(port.address, port.target);
    }

    fn get(&self) -> SocketAddr {
        SocketAddr::V4(*self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Begins to serve a bound socket. The task owns it.
pub(super) fn spawn(
    protocol: Protocol,
    address: IpAddr,
    socket: OwnedFd,
    target: Target,
    relayed: Arc<Semaphore>,
) -> io::Result<JoinHandle<()>> {
    match protocol {
        Protocol::Tcp => {
            let listener = TcpListener::from_std(std::net::TcpListener::from(socket))?;
            Ok(tokio::spawn(accept(listener, target, relayed)))
        }
        // The kernel forwards IPv4 datagrams. Relaying the few that come before it does would only make replies come
        // from two places.
        Protocol::Udp if address.is_ipv4() => Ok(tokio::spawn(hold(socket))),
        // An association may have several addresses at each end, which is nothing to copy bytes between.
        Protocol::Sctp => Ok(tokio::spawn(hold(socket))),
        Protocol::Udp => {
            let socket = UdpSocket::from_std(std::net::UdpSocket::from(socket))?;
            Ok(tokio::spawn(datagrams(Arc::new(socket), target, relayed)))
        }
    }
}

async fn hold(socket: OwnedFd) {
    std::future::pending::<()>().await;
    drop(socket);
}

async fn accept(listener: TcpListener, target: Target, relayed: Arc<Semaphore>) {
    loop {
        match listener.accept().await {
            Ok((client, _)) => {
                // One connection of each port waits here, the others in the kernel's backlog.
                let Ok(permit) = Arc::clone(&relayed).acquire_owned().await else { return };
                drop(tokio::spawn(connect(client, target.get(), permit)));
            }
            Err(_) => sleep(ACCEPT_REST).await,
        }
    }
}

async fn connect(mut client: TcpStream, target: SocketAddr, permit: OwnedSemaphorePermit) {
    // A client whose container cannot be reached sees its connection closed, as with any dead server.
    if let Ok(Ok(mut server)) = timeout(CONNECT_PATIENCE, TcpStream::connect(target)).await {
        drop(tokio::io::copy_bidirectional(&mut client, &mut server).await);
    }
    drop(permit);
}

/// Gives each client a socket of its own towards the container, so that replies find the way back.
async fn datagrams(socket: Arc<UdpSocket>, target: Target, relayed: Arc<Semaphore>) {
    let mut clients: HashMap<SocketAddr, (Arc<UdpSocket>, JoinHandle<()>)> = HashMap::new();
    let mut buffer = vec![0; DATAGRAM_BYTES];
    loop {
        let Ok((length, client)) = socket.recv_from(&mut buffer).await else {
            sleep(ACCEPT_REST).await;
            continue;
        };
        clients.retain(|_, (_, task)| !task.is_finished());
        if !clients.contains_key(&client) && clients.len() < UDP_CLIENTS_MAX {
            let Ok(permit) = Arc::clone(&relayed).try_acquire_owned() else { continue };
            let Ok(server) = connected(target.get()).await else { continue };
            let server = Arc::new(server);
            let task = tokio::spawn(replies(Arc::clone(&server), Arc::clone(&socket), client, permit));
            clients.insert(client, (server, task));
        }
        if let Some((server, _)) = clients.get(&client) {
            // A datagram that cannot be delivered is lost, as datagrams are.
            drop(server.send(&buffer[..length]).await);
        }
    }
}

async fn connected(target: SocketAddr) -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).await?;
    socket.connect(target).await?;
    Ok(socket)
}

async fn replies(server: Arc<UdpSocket>, socket: Arc<UdpSocket>, client: SocketAddr, permit: OwnedSemaphorePermit) {
    let mut buffer = vec![0; DATAGRAM_BYTES];
    while let Ok(Ok(length)) = timeout(UDP_IDLE, server.recv(&mut buffer)).await {
        drop(socket.send_to(&buffer[..length], client).await);
    }
    drop(permit);
}
