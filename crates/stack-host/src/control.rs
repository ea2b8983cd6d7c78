//! The control socket: requests in, replies and events out, one JSON value a line.

use std::os::fd::AsFd;
use std::path::Path;
use std::sync::Arc;

use stack_engine::{EventBus, Message};
use stack_model::{Failure, Fault, Reply, Request, Stamped};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, mpsc, oneshot};

use crate::project::ProjectLoader;

/// A request of more bytes than this is not one of ours: the largest carries an environment.
const REQUEST_BYTES_MAX: u64 = 8 << 20;
/// Clients at the same time.
const CLIENTS_MAX: usize = 256;

/// What a connection works with.
#[derive(Debug, Clone)]
pub(crate) struct Control {
    pub(crate) engine: mpsc::Sender<Message>,
    pub(crate) bus: EventBus,
    pub(crate) loader: ProjectLoader,
}

/// Binds the socket. What an earlier supervisor left is removed: the caller holds the project's lock.
pub(crate) fn bind(path: &Path) -> std::io::Result<std::os::unix::net::UnixListener> {
    match fs_err::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    // The mode is set before anyone can connect: a socket accepts nothing until it listens, and it lies in a directory
    // that only its owner may enter.
    let listener = std::os::unix::net::UnixListener::bind(path)?;
    fs_err::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
    Ok(listener)
}

/// One place for each client that may be connected.
#[derive(Debug, Clone)]
pub(crate) struct Places(Arc<Semaphore>);

impl Places {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Semaphore::new(CLIENTS_MAX)))
    }

    /// Ends when no client is connected.
    pub(crate) async fn empty(&self) {
        let all = u32::try_from(CLIENTS_MAX).unwrap_or(u32::MAX);
        // The semaphore is never closed.
        drop(self.0.acquire_many(all).await);
    }
}

/// Serves clients until the task is dropped; those that are connected then are served on.
pub(crate) async fn serve(listener: UnixListener, control: Control, places: Places) {
    loop {
        let Ok(place) = Arc::clone(&places.0).acquire_owned().await else { return };
        let Ok((stream, _)) = listener.accept().await else { continue };
        if !is_trusted(&stream) {
            continue;
        }
        let control = control.clone();
        tokio::task::spawn_local(async move {
            // A client that goes away in the middle of a reply is no error of ours.
            drop(converse(stream, control).await);
            drop(place);
        });
    }
}

/// The peer is root or the user this supervisor runs as.
fn is_trusted(stream: &UnixStream) -> bool {
    let Ok(peer) = rustix::net::sockopt::socket_peercred(stream.as_fd()) else { return false };
    peer.uid.is_root() || peer.uid == rustix::process::geteuid()
}

async fn converse(stream: UnixStream, control: Control) -> std::io::Result<()> {
    let (reader, mut writer) = stream.into_split();
    let mut lines = BufReader::new(reader);
    while let Some(request) = next_request(&mut lines).await? {
        let request = match request {
            Ok(request) => request,
            Err(failure) => return send(&mut writer, &Reply::Refused(failure)).await,
        };
        if let Request::Follow(after) = request {
            return follow(&mut writer, &control.bus, after).await;
        }
        let reply = answer(request, &control).await;
        send(&mut writer, &reply).await?;
    }
    Ok(())
}

async fn next_request(lines: &mut BufReader<OwnedReadHalf>) -> std::io::Result<Option<Result<Request, Failure>>> {
    use tokio::io::AsyncReadExt;
    let mut line = Vec::new();
    if lines.take(REQUEST_BYTES_MAX).read_until(b'\n', &mut line).await? == 0 {
        return Ok(None);
    }
    let request = serde_json::from_slice(&line).map_err(|error| {
        Failure::new(Fault::User, format!("the supervisor does not understand the request: {error}"))
            .hint("the supervisor may be of another version: `stack down` with that version, or end its process; containers go on")
    });
    Ok(Some(request))
}

/// What the engine or the loader says to a request.
async fn answer(request: Request, control: &Control) -> Reply {
    let (reply, answered) = oneshot::channel();
    let message = match request {
        Request::Up(source, options) => {
            let reason = "up".to_owned();
            match control.loader.accept(*source).await {
                Err(diagnostics) => return Reply::Rejected(diagnostics),
                Ok(accepted) => Message::Input {
                    desired: accepted.desired,
                    reason,
                    warnings: accepted.warnings,
                    options: Some(options),
                    reply: Some(reply),
                },
            }
        }
        Request::Plan(source, options) => match control.loader.look(*source).await {
            Err(diagnostics) => return Reply::Rejected(diagnostics),
            Ok(accepted) => Message::Plan { desired: accepted.desired, options, reply },
        },
        Request::Change(change) => Message::Change(change, reply),
        Request::Status => Message::Status(reply),
        // The caller has taken this one.
        Request::Follow(_) => return Reply::Refused(Failure::new(Fault::Bug, "follow is not a question")),
    };
    let ending = || Reply::Refused(Failure::new(Fault::Transient, "the project is going down").hint("try again"));
    if control.engine.send(message).await.is_err() {
        return ending();
    }
    answered.await.unwrap_or_else(|_| ending())
}

/// Sends every event above `after` until the client leaves or the supervisor ends.
async fn follow(writer: &mut OwnedWriteHalf, bus: &EventBus, after: u64) -> std::io::Result<()> {
    let mut events = bus.follow(after);
    while let Some(event) = events.next().await {
        send_event(writer, event).await?;
    }
    writer.shutdown().await
}

async fn send_event(writer: &mut OwnedWriteHalf, event: Stamped) -> std::io::Result<()> {
    send(writer, &Reply::Event(event)).await
}

async fn send(writer: &mut OwnedWriteHalf, reply: &Reply) -> std::io::Result<()> {
    let mut line = serde_json::to_vec(reply)?;
    line.push(b'\n');
    writer.write_all(&line).await
}
