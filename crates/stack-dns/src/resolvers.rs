//! The host's resolvers, asked from the host's network namespace.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use fs_err as fs;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

use crate::answer::Transport;

/// Patience with one resolver.
const PATIENCE: Duration = Duration::from_secs(2);
/// Resolvers that are tried (resolv.conf(5), `MAXNS`).
const RESOLVERS_MAX: usize = 3;
/// What a UDP answer may be long; we tell clients the same.
const ANSWER_BYTES: usize = 4096;
/// A resolv.conf that is larger is not one.
const FILE_BYTES_MAX: u64 = 64 << 10;
const PORT: u16 = 53;

/// The resolvers of `/etc/resolv.conf`, read again when the file changes.
#[derive(Debug)]
pub(crate) struct Resolvers {
    path: PathBuf,
    cached: Mutex<(Option<SystemTime>, Vec<SocketAddr>)>,
}

impl Resolvers {
    pub(crate) fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), cached: Mutex::default() }
    }

    fn current(&self) -> Vec<SocketAddr> {
        let mut cached = self.cached.lock().unwrap_or_else(PoisonError::into_inner);
        let changed = fs::metadata(&self.path).and_then(|metadata| metadata.modified()).ok();
        if changed.is_none() || cached.0 != changed {
            *cached = (changed, read(&self.path));
        }
        cached.1.clone()
    }

    /// The first answer of any resolver, in their order; `None` if none answers. `own` stand in place of the host's.
    pub(crate) async fn ask(&self, packet: &[u8], transport: Transport, own: &[IpAddr]) -> Option<Vec<u8>> {
        let own: Vec<SocketAddr> = own.iter().map(|address| SocketAddr::new(*address, PORT)).collect();
        let resolvers = if own.is_empty() { self.current() } else { own };
        for resolver in resolvers {
            let asked = async {
                match transport {
                    Transport::Udp => ask_udp(resolver, packet).await,
                    Transport::Tcp => ask_tcp(resolver, packet).await,
                }
            };
            if let Ok(Ok(answer)) = timeout(PATIENCE, asked).await {
                return Some(answer);
            }
        }
        None
    }
}

/// Without the file the resolver is on this host, as resolv.conf(5) has it.
fn read(path: &Path) -> Vec<SocketAddr> {
    let small = fs::metadata(path).is_ok_and(|metadata| metadata.len() <= FILE_BYTES_MAX);
    let text = if small { fs::read_to_string(path).unwrap_or_default() } else { String::new() };
    let found = parse(&text);
    if found.is_empty() { vec![SocketAddr::from((Ipv4Addr::LOCALHOST, PORT))] } else { found }
}

/// The `nameserver` lines. Link-local addresses with a zone (`fe80::1%eth0`) are left out.
fn parse(text: &str) -> Vec<SocketAddr> {
    let servers = text.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        let address: IpAddr = words.next().filter(|word| *word == "nameserver").and(words.next())?.parse().ok()?;
        Some(SocketAddr::new(address, PORT))
    });
    servers.take(RESOLVERS_MAX).collect()
}

/// A fresh socket, and with it a fresh port, for every question: nobody else can answer it by guessing.
async fn ask_udp(resolver: SocketAddr, packet: &[u8]) -> io::Result<Vec<u8>> {
    let any = match resolver {
        SocketAddr::V4(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
        SocketAddr::V6(_) => SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
    };
    let socket = UdpSocket::bind(any).await?;
    socket.connect(resolver).await?;
    socket.send(packet).await?;
    let mut answer = vec![0; ANSWER_BYTES];
    loop {
        let length = socket.recv(&mut answer).await?;
        if belongs(packet, &answer[..length]) {
            answer.truncate(length);
            return Ok(answer);
        }
    }
}

async fn ask_tcp(resolver: SocketAddr, packet: &[u8]) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(resolver).await?;
    let length = u16::try_from(packet.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    stream.write_all(&[&length.to_be_bytes(), packet].concat()).await?;
    let mut answer = vec![0; usize::from(stream.read_u16().await?)];
    stream.read_exact(&mut answer).await?;
    if belongs(packet, &answer) { Ok(answer) } else { Err(io::ErrorKind::InvalidData.into()) }
}

/// An answer carries the number of its question.
fn belongs(question: &[u8], answer: &[u8]) -> bool {
    answer.len() >= 12 && answer.get(..2) == question.get(..2) && answer[2] & 0x80 != 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nameserver_lines_are_read_and_the_rest_is_not() {
        let text = "# nameserver 9.9.9.9\nsearch lan\nnameserver 10.0.0.1\nnameserver\tfd00::1\nnameserver fe80::1%eth0\n\
                    nameservers 1.1.1.1\nnameserver 10.0.0.2 # main\nnameserver 10.0.0.3\n";
        let found: Vec<String> = parse(text).iter().map(ToString::to_string).collect();
        assert_eq!(found, ["10.0.0.1:53", "[fd00::1]:53", "10.0.0.2:53"]);
    }

    #[test]
    fn an_edited_file_is_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("resolv.conf");
        let resolvers = Resolvers::new(&path);
        assert_eq!(resolvers.current(), ["127.0.0.1:53".parse().unwrap()]);
        fs::write(&path, "nameserver 10.0.0.1\n").unwrap();
        assert_eq!(resolvers.current(), ["10.0.0.1:53".parse().unwrap()]);
        fs::write(&path, "nameserver 10.0.0.2\n").unwrap();
        let later = SystemTime::now() + Duration::from_secs(2);
        std::fs::File::options().write(true).open(&path).unwrap().set_modified(later).unwrap();
        assert_eq!(resolvers.current(), ["10.0.0.2:53".parse().unwrap()]);
    }
}
