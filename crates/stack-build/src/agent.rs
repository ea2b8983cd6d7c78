//! The socket of an ssh agent in a step: one of our own, with the owner and mode that the mount asks for, that passes on
//! what is said to the agent of the host. The container never sees the host's socket itself.

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use fs_err as fs;

use crate::mounts::Owner;

/// Passes on while the value lives.
pub(crate) struct Agent {
    path: PathBuf,
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Agent {
    /// Listens at `path` for the agent that listens at `agent`.
    pub(crate) fn forward(agent: &Path, path: &Path, owner: Owner) -> io::Result<Self> {
        // Whoever gave a socket that is none learns it here, not from a program in the step.
        drop(UnixStream::connect(agent)?);
        let listener = UnixListener::bind(path)?;
        std::os::unix::fs::chown(path, Some(owner.uid), Some(owner.gid))?;
        fs::set_permissions(path, PermissionsExt::from_mode(owner.mode))?;
        let over = Arc::new(AtomicBool::new(false));
        let (is_over, agent) = (Arc::clone(&over), agent.to_owned());
        let accept = move || {
            for stream in listener.incoming() {
                if is_over.load(Ordering::Relaxed) {
                    return;
                }
                // A program that is not served finds its connection closed.
                if let Ok(stream) = stream {
                    drop(pass_on(stream, &agent));
                }
            }
        };
        let thread = std::thread::Builder::new().name("ssh-agent".to_owned()).spawn(accept)?;
        Ok(Self { path: path.to_owned(), over, thread: Some(thread) })
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        // Wakes the thread.
        drop(UnixStream::connect(&self.path));
        drop(self.thread.take().map(JoinHandle::join));
        drop(fs::remove_file(&self.path));
    }
}

/// Both directions, each until its end. The threads end with the connection.
fn pass_on(near: UnixStream, agent: &Path) -> io::Result<()> {
    let far = UnixStream::connect(agent)?;
    for (from, to) in [(near.try_clone()?, far.try_clone()?), (far, near)] {
        std::thread::Builder::new().name("ssh-agent".to_owned()).spawn(move || copy(from, to))?;
    }
    Ok(())
}

fn copy(mut from: UnixStream, mut to: UnixStream) {
    let mut buffer = vec![0; 16 << 10];
    while let Ok(count) = from.read(&mut buffer) {
        if count == 0 || to.write_all(&buffer[..count]).is_err() {
            break;
        }
    }
    drop(to.shutdown(Shutdown::Write));
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn what_is_said_goes_both_ways_and_the_mount_has_its_owner() {
        let directory = tempfile::tempdir().unwrap();
        let (real, own) = (directory.path().join("real"), directory.path().join("own"));
        let listener = UnixListener::bind(&real).unwrap();
        let echo = std::thread::spawn(move || {
            // The first connection only looks whether anybody is there.
            drop(listener.accept().unwrap());
            let (mut stream, _) = listener.accept().unwrap();
            let mut text = String::new();
            stream.read_to_string(&mut text).unwrap();
            stream.write_all(text.to_uppercase().as_bytes()).unwrap();
        });
        let me = rustix::process::geteuid().as_raw();
        let agent = Agent::forward(&real, &own, Owner { uid: me, gid: me, mode: 0o640 }).unwrap();
        assert_eq!(fs::metadata(&own).unwrap().mode() & 0o777, 0o640);
        let mut stream = UnixStream::connect(&own).unwrap();
        stream.write_all(b"sign this").unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert_eq!(answer, "SIGN THIS");
        echo.join().unwrap();
        drop(agent);
        assert!(!own.exists());
        assert!(Agent::forward(&directory.path().join("none"), &own, Owner { uid: me, gid: me, mode: 0o600 }).is_err());
    }
}
