//! The files that `stack` writes for a container: resolv.conf, hosts, hostname, secrets and configs. They lie in the
//! run directory, so that no secret reaches a disk where that is a tmpfs.

use std::fmt::Write as _;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use stack_model::{Container, FileKind, NetworkMode};

use crate::failure::FilesError;

/// Where the host keeps its own resolver configuration; systemd-resolved's stub is of no use inside a container.
const HOST_RESOLV_CONF: [&str; 2] = ["/run/systemd/resolve/resolv.conf", "/etc/resolv.conf"];

/// A file of the run directory and where the container sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct GeneratedFile {
    pub(crate) source: PathBuf,
    pub(crate) target: String,
    pub(crate) read_only: bool,
}

/// Writes all files of a container below `directory` and lists them in mount order.
pub(crate) fn write_files(directory: &Path, container: &Container) -> Result<Vec<GeneratedFile>, FilesError> {
    let files = directory.join("files");
    fs_err::create_dir_all(&files).map_err(FilesError::Write)?;
    let mut generated = Vec::with_capacity(3 + container.spec.files.len());
    let texts = [
        ("hostname", "/etc/hostname", format!("{}\n", container.process.hostname)),
        ("hosts", "/etc/hosts", hosts(container)),
        ("resolv.conf", "/etc/resolv.conf", resolv_conf(container)),
    ];
    for (name, target, text) in texts {
        let source = files.join(name);
        fs_err::write(&source, text).map_err(FilesError::Write)?;
        generated.push(GeneratedFile { source, target: target.to_owned(), read_only: false });
    }
    for (number, file) in container.spec.files.iter().enumerate() {
        let kind = match file.kind {
            FileKind::Secret => "secret",
            FileKind::Config => "config",
        };
        let content = fs_err::read(&file.source).map_err(|source| FilesError::Read {
            kind,
            target: file.target.clone(),
            source,
        })?;
        let source = files.join(format!("{kind}-{number}"));
        write_private(&source, &content)
            .and_then(|()| std::os::unix::fs::chown(&source, Some(file.uid), Some(file.gid)))
            .and_then(|()| fs_err::set_permissions(&source, PermissionsExt::from_mode(file.mode)))
            .map_err(FilesError::Write)?;
        generated.push(GeneratedFile { source, target: file.target.clone(), read_only: true });
    }
    Ok(generated)
}

/// Writes a file that nobody else may read until its permissions are widened.
fn write_private(path: &Path, content: &[u8]) -> std::io::Result<()> {
    match fs_err::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let mut options = fs_err::OpenOptions::new();
    let mut file = {
        use fs_err::os::unix::fs::OpenOptionsExt as _;
        options.write(true).create_new(true).mode(0o600).open(path)?
    };
    file.write_all(content)
}

/// `/etc/hosts`: loopback and the container's own name on each of its addresses.
fn hosts(container: &Container) -> String {
    let mut text = String::from("127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n");
    for endpoint in &container.endpoints {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{}\t{}", endpoint.address.addr(), container.process.hostname);
    }
    text
}

/// `/etc/resolv.conf`: the project's own server, except on the host's network.
fn resolv_conf(container: &Container) -> String {
    match container.spec.network {
        NetworkMode::Attached(_) => "nameserver 127.0.0.11\noptions ndots:0\n".to_owned(),
        NetworkMode::None => String::new(),
        NetworkMode::Host => {
            HOST_RESOLV_CONF.iter().find_map(|path| fs_err::read_to_string(path).ok()).unwrap_or_default()
        }
    }
}
