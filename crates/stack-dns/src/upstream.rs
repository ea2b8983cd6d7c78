//! Asking the host's resolvers.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};

use crate::Transport;

/// A resolver that has not answered by then is passed over.
const TIMEOUT: Duration = Duration::from_secs(2);
/// glibc looks at three as well (resolv.conf(5), MAXNS).
const RESOLVERS_MAX: usize = 3;
/// The largest datagram.
const DATAGRAM_BYTES_MAX: usize = 65_535;
/// Read in this order: where systemd-resolved runs, the first file names the real resolvers.
const FILES: [&str; 2] = ["/run/systemd/resolve/resolv.conf", "/etc/resolv.conf"];

/// The resolvers of the host, read anew for each question: a laptop changes networks.
fn resolvers() -> Vec<IpAddr> {
    let text = FILES.iter().find_map(|path| fs_err::read_to_string(path).ok()).unwrap_or_default();
    let found = parse_resolvers(&text);
    if found.is_empty() { vec![IpAddr::V4(Ipv4Addr::LOCALHOST)] } else { found }
}

fn parse_resolvers(text: &str) -> Vec<IpAddr> {
    let words = text.lines().filter_map(|line| {
        let mut words = line.split_ascii_whitespace();
        (words.next() == Some("nameserver")).then(|| words.next()?.parse().ok()).flatten()
    });
    words.take(RESOLVERS_MAX).collect()
}

/// The first answer of a resolver to `packet`.
pub(crate) async fn ask(packet: &[u8], transport: Transport) -> Option<Vec<u8>> {
    for resolver in resolvers() {
        let address = SocketAddr::new(resolver, 53);
        let answer = match transport {
            Transport::Udp => tokio::time::timeout(TIMEOUT, ask_udp(packet, address)).await,
            Transport::Tcp => tokio::time::timeout(TIMEOUT, ask_tcp(packet, address)).await,
        };
        if let Ok(Ok(answer)) = answer {
            return Some(answer);
        }
    }
    None
}

async fn ask_udp(packet: &[u8], address: SocketAddr) -> std::io::Result<Vec<u8>> {
    let any: SocketAddr =
        if address.is_ipv4() { (Ipv4Addr::UNSPECIFIED, 0).into() } else { (std::net::Ipv6Addr::UNSPECIFIED, 0).into() };
    // A new socket for each question has a new random port, and connect(2) drops what others send.
    let socket = UdpSocket::bind(any).await?;
    socket.connect(address).await?;
    socket.send(packet).await?;
    let mut answer = vec![0; DATAGRAM_BYTES_MAX];
    loop {
        let length = socket.recv(&mut answer).await?;
        if answer.get(..2) == packet.get(..2) {
            answer.truncate(length);
            return Ok(answer);
        }
    }
}

async fn ask_tcp(packet: &[u8], address: SocketAddr) -> std::io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(address).await?;
    let length = u16::try_from(packet.len()).map_err(std::io::Error::other)?;
    stream.write_all(&length.to_be_bytes()).await?;
    stream.write_all(packet).await?;
    let mut answer = vec![0; usize::from(stream.read_u16().await?)];
    stream.read_exact(&mut answer).await?;
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resolvers_are_read_as_glibc_reads_them() {
        let text = "# comment\nsearch lan\nnameserver 192.0.2.1 # first\nnameserver bad\nnameserver 2001:db8::1\n";
        assert_eq!(parse_resolvers(text), ["192.0.2.1".parse::<IpAddr>().unwrap(), "2001:db8::1".parse().unwrap()]);
    }
}
