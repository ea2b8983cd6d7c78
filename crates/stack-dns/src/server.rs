//! The sockets: one datagram socket and one listener in each container's network namespace, all served by one process.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr, TcpListener as StdTcpListener, UdpSocket as StdUdpSocket};
use std::rc::Rc;
use std::time::Duration;

use stack_model::{ContainerId, Names, Zone};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::Semaphore;
use tokio::task::AbortHandle;

use crate::answer::{Answer, Transport, answer};
use crate::upstream;

/// Where containers find the server; the address docker uses, so that images which know it keep working.
const ADDRESS: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 11);
/// DNS.
const PORT: u16 = 53;
/// Questions are short: larger datagrams are none.
const QUESTION_BYTES_MAX: usize = 1500;
/// Questions that wait for the host's resolvers, over all containers. More are dropped, and clients ask again.
const FORWARDED_MAX: usize = 256;
/// An open stream without a question is closed after this long.
const STREAM_IDLE: Duration = Duration::from_secs(5);

/// Opens the two sockets. Call it on a thread that is inside the container's network namespace: a socket belongs to
/// the namespace it was made in.
///
/// # Errors
/// What socket(2) and bind(2) say; loopback must be up.
pub fn open_sockets() -> std::io::Result<(StdUdpSocket, StdTcpListener)> {
    let address = SocketAddr::from((ADDRESS, PORT));
    let datagrams = StdUdpSocket::bind(address)?;
    let streams = StdTcpListener::bind(address)?;
    datagrams.set_nonblocking(true)?;
    streams.set_nonblocking(true)?;
    Ok((datagrams, streams))
}

/// Answers the names of one project. Lives on one thread, within a tokio `LocalSet`.
#[derive(Debug, Default)]
pub struct Server {
    shared: Rc<Shared>,
    serving: RefCell<BTreeMap<ContainerId, [AbortHandle; 2]>>,
}

#[derive(Debug)]
struct Shared {
    names: RefCell<Rc<Names>>,
    turn: Cell<usize>,
    forwarded: Semaphore,
}

impl Default for Shared {
    fn default() -> Self {
        Self { names: RefCell::default(), turn: Cell::new(0), forwarded: Semaphore::new(FORWARDED_MAX) }
    }
}

impl Server {
    /// A server that knows no names and no containers.
    pub fn new() -> Self {
        Self::default()
    }

    /// Swaps the names. A question in flight is answered from the old or the new ones, never from a mixture.
    pub fn publish(&self, names: Names) {
        *self.shared.names.borrow_mut() = Rc::new(names);
    }

    /// Begins to answer on sockets of [`open_sockets`], in the view of container `id`. Earlier sockets of the same
    /// container are closed.
    ///
    /// # Errors
    /// The sockets cannot be registered with the event loop.
    pub fn serve(&self, id: ContainerId, (datagrams, streams): (StdUdpSocket, StdTcpListener)) -> std::io::Result<()> {
        let datagrams = UdpSocket::from_std(datagrams)?;
        let streams = TcpListener::from_std(streams)?;
        let over_udp = tokio::task::spawn_local(serve_datagrams(Rc::clone(&self.shared), id.clone(), datagrams));
        let over_tcp = tokio::task::spawn_local(serve_streams(Rc::clone(&self.shared), id.clone(), streams));
        self.remove(&id);
        self.serving.borrow_mut().insert(id, [over_udp.abort_handle(), over_tcp.abort_handle()]);
        Ok(())
    }

    /// Closes a container's sockets, which would keep its network namespace alive.
    pub fn remove(&self, id: &ContainerId) {
        for task in self.serving.borrow_mut().remove(id).into_iter().flatten() {
            task.abort();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        for task in self.serving.get_mut().values().flatten() {
            task.abort();
        }
    }
}

impl Shared {
    /// What to do with a question of container `id`.
    fn answer(&self, id: &ContainerId, packet: &[u8], transport: Transport) -> Answer {
        let names = Rc::clone(&self.names.borrow());
        let unknown = Zone::default();
        let zone = names.zones.get(id).unwrap_or(&unknown);
        let turn = self.turn.get();
        self.turn.set(turn.wrapping_add(1));
        answer(zone, packet, transport, turn)
    }
}

async fn serve_datagrams(shared: Rc<Shared>, id: ContainerId, socket: UdpSocket) {
    let socket = Rc::new(socket);
    loop {
        if socket.readable().await.is_err() {
            return;
        }
        // The buffer is not kept while nobody asks: a hundred idle containers would hold a hundred of them.
        let mut packet = [0; QUESTION_BYTES_MAX];
        let Ok((length, client)) = socket.try_recv_from(&mut packet) else { continue };
        let packet = &packet[..length];
        match shared.answer(&id, packet, Transport::Udp) {
            // A reply that cannot be sent is one that the client asks for again.
            Answer::Reply(reply) => drop(socket.try_send_to(&reply, client)),
            Answer::Ignore => {}
            Answer::Forward => {
                let (shared, socket, packet) = (Rc::clone(&shared), Rc::clone(&socket), packet.to_vec());
                tokio::task::spawn_local(async move {
                    if let Some(reply) = forward(&shared, &packet, Transport::Udp).await {
                        drop(socket.send_to(&reply, client).await);
                    }
                });
            }
        }
    }
}

async fn forward(shared: &Shared, packet: &[u8], transport: Transport) -> Option<Vec<u8>> {
    let _place = shared.forwarded.try_acquire().ok()?;
    upstream::ask(packet, transport).await
}

async fn serve_streams(shared: Rc<Shared>, id: ContainerId, listener: TcpListener) {
    while let Ok((stream, _)) = listener.accept().await {
        let (shared, id) = (Rc::clone(&shared), id.clone());
        tokio::task::spawn_local(async move {
            // A stream that breaks is the client's to open again.
            drop(serve_stream(&shared, &id, stream).await);
        });
    }
}

/// Questions and answers, each behind its length (RFC 1035, 4.2.2).
async fn serve_stream(shared: &Shared, id: &ContainerId, mut stream: TcpStream) -> std::io::Result<()> {
    loop {
        let Ok(length) = tokio::time::timeout(STREAM_IDLE, stream.read_u16()).await else { return Ok(()) };
        let mut packet = vec![0; usize::from(length?)];
        stream.read_exact(&mut packet).await?;
        let reply = match shared.answer(id, &packet, Transport::Tcp) {
            Answer::Reply(reply) => Some(reply),
            Answer::Forward => forward(shared, &packet, Transport::Tcp).await,
            Answer::Ignore => None,
        };
        let Some(reply) = reply else { return Ok(()) };
        let length = u16::try_from(reply.len()).map_err(std::io::Error::other)?;
        stream.write_all(&length.to_be_bytes()).await?;
        stream.write_all(&reply).await?;
    }
}
