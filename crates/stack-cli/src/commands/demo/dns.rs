//! Looking up one address. The C library's resolver loads modules that an image with a single static file lacks.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::Duration;

/// The server is on this machine.
const TIMEOUT: Duration = Duration::from_secs(2);

/// The first address of a host.
pub(super) fn look_up(host: &str) -> io::Result<Ipv4Addr> {
    if host == "localhost" {
        return Ok(Ipv4Addr::LOCALHOST);
    }
    if let Ok(address) = host.parse() {
        return Ok(address);
    }
    let server = name_server()?;
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    socket.set_read_timeout(Some(TIMEOUT))?;
    socket.connect(server)?;
    socket.send(&question(host)?)?;
    let mut answer = [0; 512];
    let length = socket.recv(&mut answer)?;
    first_address(&answer[..length]).ok_or_else(|| io::Error::other(format!("nobody knows `{host}`")))
}

fn name_server() -> io::Result<SocketAddr> {
    let text = fs_err::read_to_string("/etc/resolv.conf")?;
    let found = text.lines().find_map(|line| line.strip_prefix("nameserver ")?.trim().parse::<Ipv4Addr>().ok());
    found.map(|address| (address, 53).into()).ok_or_else(|| io::Error::other("no name server in /etc/resolv.conf"))
}

/// A question for the A record of `host` (RFC 1035, 4.1).
fn question(host: &str) -> io::Result<Vec<u8>> {
    let mut packet = vec![0, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in host.split('.') {
        let length = u8::try_from(label.len()).ok().filter(|length| (1..64).contains(length));
        packet.push(length.ok_or_else(|| io::Error::other(format!("`{host}` is not a host name")))?);
        packet.extend(label.bytes());
    }
    packet.extend([0, 0, 1, 0, 1]);
    Ok(packet)
}

/// The address in the first A record of an answer.
fn first_address(packet: &[u8]) -> Option<Ipv4Addr> {
    let answers = u16::from_be_bytes([*packet.get(6)?, *packet.get(7)?]);
    let mut at = skip_name(packet, 12)? + 4;
    for _ in 0..answers {
        at = skip_name(packet, at)?;
        let head = packet.get(at..at + 10)?;
        let length = usize::from(u16::from_be_bytes([head[8], head[9]]));
        if head[..2] == [0, 1] {
            return <[u8; 4]>::try_from(packet.get(at + 10..at + 14)?).ok().map(Ipv4Addr::from);
        }
        at += 10 + length;
    }
    None
}

/// The index behind the name at `at`.
fn skip_name(packet: &[u8], mut at: usize) -> Option<usize> {
    loop {
        match *packet.get(at)? {
            0 => return Some(at + 1),
            // A pointer ends a name.
            length if length >= 0xc0 => return Some(at + 2),
            length => at += 1 + usize::from(length),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_with_a_pointer_is_read() {
        let mut packet = question("db").unwrap();
        packet[7] = 1;
        packet.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4, 10, 89, 0, 2]);
        assert_eq!(first_address(&packet), Some(Ipv4Addr::new(10, 89, 0, 2)));
        assert_eq!(first_address(&packet[..20]), None);
    }
}
