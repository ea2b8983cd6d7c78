//! The project's name server and which containers it serves.

use std::cell::Cell;

use stack_dns::Server;
use stack_model::{ContainerId, Names};

use crate::failure::failed;
use crate::kit::{Kit, Sandbox};

/// Answers names inside the containers of the project.
#[derive(Debug)]
pub(crate) struct NameService {
    server: Server,
    /// Something was published: an empty set differs from none.
    published: Cell<bool>,
}

/// Sockets on 127.0.0.11 inside a container's namespace.
pub(crate) type Sockets = (std::net::UdpSocket, std::net::TcpListener);

impl NameService {
    pub(crate) fn new() -> Self {
        Self { server: Server::new(), published: Cell::new(false) }
    }

    /// What is being answered; `None` until something was published.
    pub(crate) fn published(&self) -> Option<Names> {
        self.published.get().then(|| self.server.names())
    }

    /// Answers these names from now on.
    pub(crate) fn publish(&self, names: Names) {
        self.server.publish(names);
        self.published.set(true);
    }

    /// Begins to answer inside a container.
    pub(crate) fn serve(&self, id: ContainerId, sockets: Sockets) -> std::io::Result<()> {
        self.server.serve(id, sockets)
    }

    /// Closes a container's sockets: they would keep its namespace alive.
    pub(crate) fn remove(&self, id: &ContainerId) {
        self.server.remove(id);
    }
}

/// Opens a container's sockets. Blocks; belongs on a worker thread.
pub(crate) fn open_sockets(kit: &Kit, sandbox: &Sandbox) -> Result<Sockets, stack_model::Failure> {
    use std::os::fd::AsFd;
    let opened = kit.net.in_namespace(sandbox.as_fd(), stack_dns::open_sockets).map_err(failed)?;
    opened.map_err(|error| {
        stack_model::Failure::new(
            crate::failure::fault_of(&error),
            format!("cannot answer names on 127.0.0.11: {error}"),
        )
    })
}
