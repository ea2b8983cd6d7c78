//! As much of HTTP/1.1 as a page and a counter need. One thread a connection, one request a connection.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::{dns, small};

/// Nobody here takes longer.
const TIMEOUT: Duration = Duration::from_secs(5);
/// A request or an answer of more bytes is none of ours.
const BYTES_MAX: u64 = 1 << 20;

/// Counts requests until it is told to stop.
pub(super) fn serve_counter(port: u16) -> io::Result<u8> {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    serve(port, |path| {
        // The health check looks without counting.
        let count =
            if path == "/count" { COUNT.fetch_add(1, Ordering::Relaxed) + 1 } else { COUNT.load(Ordering::Relaxed) };
        Ok(format!("{count}\n"))
    })
}

/// Shows what the counter at `backend` says, until it is told to stop.
pub(super) fn serve_page(port: u16, backend: &str) -> io::Result<u8> {
    let url = format!("{}/count", backend.trim_end_matches('/'));
    serve(port, move |_| {
        let count = get(&url)?;
        Ok(format!("Hello from stack: this page was asked for {} times.\n", count.trim()))
    })
}

fn serve(port: u16, page: impl Fn(&str) -> io::Result<String> + Clone + Send + 'static) -> io::Result<u8> {
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port))?;
    writeln!(io::stdout(), "listening on {port}")?;
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let page = page.clone();
            std::thread::spawn(move || {
                // A client that goes away is no error of the server.
                drop(answer(stream, page));
            });
        }
    });
    small::wait_for_stop()?;
    Ok(0)
}

fn answer(stream: TcpStream, page: impl Fn(&str) -> io::Result<String>) -> io::Result<()> {
    stream.set_read_timeout(Some(TIMEOUT))?;
    let mut lines = BufReader::new((&stream).take(BYTES_MAX));
    let mut request = String::new();
    lines.read_line(&mut request)?;
    let mut header = String::new();
    while lines.read_line(&mut header)? > 2 {
        header.clear();
    }
    let path = request.split(' ').nth(1).unwrap_or("/").to_owned();
    let (status, body) = match page(&path) {
        Ok(body) => ("200 OK", body),
        Err(error) => ("502 Bad Gateway", format!("{error}\n")),
    };
    let length = body.len();
    write!(
        &stream,
        "HTTP/1.1 {status}\r\nContent-Type: text/plain\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    )
}

/// The body behind an `http://host:port/path` address.
pub(super) fn get(url: &str) -> io::Result<String> {
    let refuse = |why: &str| io::Error::other(format!("{url}: {why}"));
    let rest = url.strip_prefix("http://").ok_or_else(|| refuse("not an http address"))?;
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    // The colons of an address of IPv6 stand between brackets.
    let bracketed = authority.strip_prefix('[').and_then(|rest| rest.split_once(']'));
    let (host, port) = match bracketed {
        Some((host, port)) => (host, port.strip_prefix(':').unwrap_or("80")),
        None => authority.split_once(':').unwrap_or((authority, "80")),
    };
    let port: u16 = port.parse().map_err(|_| refuse("not a port"))?;
    let address = match host.parse::<Ipv6Addr>() {
        Ok(address) => IpAddr::V6(address),
        Err(_) => dns::look_up(host).map_err(|error| refuse(&error.to_string()))?.into(),
    };
    let mut stream = TcpStream::connect_timeout(&SocketAddr::from((address, port)), TIMEOUT)
        .map_err(|error| refuse(&error.to_string()))?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    write!(stream, "GET /{path} HTTP/1.1\r\nHost: {authority}\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.take(BYTES_MAX).read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").ok_or_else(|| refuse("no answer"))?;
    match head.split(' ').nth(1) {
        Some("200") => Ok(body.to_owned()),
        status => Err(refuse(&format!("status {}", status.unwrap_or("missing")))),
    }
}
