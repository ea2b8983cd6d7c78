//! The local registry: Debian's `docker-registry` with a configuration of its own.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use crate::Outcome;
use crate::images::cache;
use crate::run::program;

/// Where the examples and tests expect it.
pub(crate) const PORT: u16 = 5000;
/// It answers within 50 ms; a loaded machine may take longer.
const PATIENCE: Duration = Duration::from_secs(15);
/// Between two looks while it starts.
const PAUSE: Duration = Duration::from_millis(10);
/// Answers on loopback come at once.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

type Failed = Box<dyn std::error::Error>;

/// A registry that was started here, and ends with this value.
#[derive(Debug)]
pub(crate) struct RegistryGuard {
    child: Option<Child>,
}

impl RegistryGuard {
    /// Lets it run on after this program; [`stop`] ends it.
    fn leave(mut self) -> Outcome {
        if let Some(child) = self.child.take() {
            fs_err::write(pid_file(), child.id().to_string())?;
        }
        Ok(())
    }
}

impl Drop for RegistryGuard {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let ended = child.kill().and_then(|()| child.wait());
            drop(ended);
        }
    }
}

/// Starts a registry on 127.0.0.1 and waits until it answers.
pub(crate) fn start(port: u16) -> Result<RegistryGuard, Failed> {
    let directory = cache().join("registry");
    fs_err::create_dir_all(&directory)?;
    let configuration = directory.join(format!("{port}.yml"));
    fs_err::write(&configuration, render_configuration(port, &directory))?;
    let path = directory.join(format!("{port}.log"));
    let (log, _) = fs_err::File::create(&path)?.into_parts();
    let mut command = program("docker-registry");
    command.arg("serve").arg(&configuration).stdin(Stdio::null()).process_group(0);
    command.stdout(log.try_clone()?).stderr(log);
    let child = command.spawn().map_err(|error| format!("cannot run docker-registry: {error}"))?;
    let mut guard = RegistryGuard { child: Some(child) };
    let begin = Instant::now();
    while !answers(port) {
        let ended = guard.child.as_mut().and_then(|child| child.try_wait().ok().flatten());
        if ended.is_some() || begin.elapsed() > PATIENCE {
            return Err(format!("the registry does not answer on port {port}; see {}", path.display()).into());
        }
        std::thread::park_timeout(PAUSE);
    }
    Ok(guard)
}

/// A registry on the usual port: the one that runs, else one that ends with the guard.
pub(crate) fn ensure() -> Result<RegistryGuard, Failed> {
    if answers(PORT) { Ok(RegistryGuard { child: None }) } else { start(PORT) }
}

/// A registry on the usual port that runs on after this program.
pub(crate) fn ensure_running() -> Outcome {
    ensure()?.leave()
}

/// Ends the registry that [`ensure_running`] left.
pub(crate) fn stop() -> Result<bool, Failed> {
    let Ok(text) = fs_err::read_to_string(pid_file()) else { return Ok(false) };
    fs_err::remove_file(pid_file())?;
    let pid: i32 = text.trim().parse()?;
    let Some(pid) = rustix::process::Pid::from_raw(pid) else { return Ok(false) };
    // The number may have passed to another program since.
    let command = fs_err::read(format!("/proc/{}/cmdline", pid.as_raw_nonzero())).unwrap_or_default();
    if !command.starts_with(b"docker-registry\0") {
        return Ok(false);
    }
    rustix::process::kill_process(pid, rustix::process::Signal::TERM)?;
    Ok(true)
}

fn pid_file() -> PathBuf {
    cache().join("registry/pid")
}

/// Copies everything a registry on the usual port needs to a directory that will lie at `place` where it is served.
pub(crate) fn copy(to: &Path, place: &Path) -> Outcome {
    fs_err::create_dir_all(to)?;
    crate::run::run(program("cp").arg("-r").arg(cache().join("registry/storage")).arg(to))?;
    fs_err::write(to.join(format!("{PORT}.yml")), render_configuration(PORT, place))?;
    Ok(())
}

fn render_configuration(port: u16, directory: &Path) -> String {
    let storage = directory.join("storage");
    format!(
        "version: 0.1\n\
         log:\n  level: warn\n  accesslog:\n    disabled: true\n\
         storage:\n  filesystem:\n    rootdirectory: {}\n  delete:\n    enabled: true\n\
         http:\n  addr: 127.0.0.1:{port}\n  secret: loopback\n",
        storage.display()
    )
}

fn answers(port: u16) -> bool {
    request(port, "GET", "/v2/").is_ok_and(|answer| answer.starts_with("HTTP/1.1 200"))
}

/// The digest under which the registry knows a manifest.
pub(crate) fn digest(port: u16, repository: &str, tag: &str) -> Option<String> {
    let answer = request(port, "HEAD", &format!("/v2/{repository}/manifests/{tag}")).ok()?;
    let is_digest = |line: &&str| line.to_ascii_lowercase().starts_with("docker-content-digest:");
    answer.lines().find(is_digest).and_then(|line| line.split_once(": ")).map(|(_, digest)| digest.trim().to_owned())
}

fn request(port: u16, method: &str, path: &str) -> std::io::Result<String> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let mut stream = TcpStream::connect_timeout(&address, ANSWER_TIMEOUT)?;
    stream.set_read_timeout(Some(ANSWER_TIMEOUT))?;
    let accept = "application/vnd.oci.image.manifest.v1+json";
    let head = format!("Host: 127.0.0.1:{port}\r\nAccept: {accept}\r\nConnection: close\r\n\r\n");
    stream.write_all(format!("{method} {path} HTTP/1.1\r\n{head}").as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}
