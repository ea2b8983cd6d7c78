//! The files that `stack` writes for a container: resolv.conf, hosts, hostname, secrets and configs. They lie in the
//! run directory, so that no secret reaches a disk where that is a tmpfs.

use std::fmt::Write as _;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use stack_model::{Container, Dns, FileKind, Layout, NetworkMode, Process};

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

/// Writes all files of a container into `directory` and lists them in mount order. `leader` is the container whose
/// network it is in, if that is another's.
pub(crate) fn write_files(
    directory: &Path,
    container: &Container,
    leader: Option<&Container>,
) -> Result<Vec<GeneratedFile>, FilesError> {
    let mut generated = Vec::with_capacity(3 + container.spec.files.len());
    let texts = [
        ("hostname", "/etc/hostname", format!("{}\n", container.process.hostname)),
        ("hosts", "/etc/hosts", hosts(container, leader.unwrap_or(container))),
        ("resolv.conf", "/etc/resolv.conf", resolv_conf(container, leader.unwrap_or(container))),
    ];
    for (name, target, text) in texts {
        let source = directory.join(name);
        fs_err::write(&source, text).map_err(FilesError::Write)?;
        generated.push(GeneratedFile { source, target: target.to_owned(), read_only: false });
    }
    for (number, file) in container.spec.files.iter().enumerate() {
        let kind = match file.kind {
            FileKind::Secret => "secret",
            FileKind::Config => "config",
        };
        let content = match &file.text {
            Some(text) => text.clone().into_bytes(),
            None => fs_err::read(&file.source).map_err(|source| FilesError::Read {
                kind,
                target: file.target.clone(),
                source,
            })?,
        };
        let source = directory.join(format!("{kind}-{number}"));
        write_private(&source, &content)
            .and_then(|()| std::os::unix::fs::chown(&source, Some(file.uid), Some(file.gid)))
            .and_then(|()| fs_err::set_permissions(&source, PermissionsExt::from_mode(file.mode)))
            .map_err(FilesError::Write)?;
        generated.push(GeneratedFile { source, target: file.target.clone(), read_only: true });
    }
    Ok(generated)
}

/// The directory that lies below the layers of every image, with the places that the system and the files of a container
/// are mounted on. Where an image has them itself, its own are seen; where it has not, each container would have to make
/// them in its writable layer: seven files, of which each costs a search through what was deleted lately (ext4).
pub(crate) fn mount_points(layout: &Layout) -> Result<PathBuf, FilesError> {
    let directory = layout.mount_points();
    let make = || -> std::io::Result<()> {
        // The last one says that the others are there.
        if directory.join("etc/resolv.conf").exists() {
            return Ok(());
        }
        let open = |path: &Path, mode: u32| fs_err::set_permissions(path, PermissionsExt::from_mode(mode));
        // As everything in the store: the root that containers see is that of their writable layer.
        fs_err::create_dir_all(&directory).and_then(|()| open(&directory, 0o700))?;
        for name in ["dev", "etc", "proc", "sys"] {
            let place = directory.join(name);
            fs_err::create_dir_all(&place).and_then(|()| open(&place, 0o755))?;
        }
        ["hosts", "hostname", "resolv.conf"].iter().try_for_each(|name| {
            let place = directory.join("etc").join(name);
            fs_err::write(&place, "").and_then(|()| open(&place, 0o644))
        })
    };
    make().map_err(FilesError::Write)?;
    Ok(directory)
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

/// `/etc/hosts`: loopback, the container's own name on each of its addresses, and what the file adds.
fn hosts(container: &Container, leader: &Container) -> String {
    let mut text = String::from("127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n");
    let Process { hostname, domainname, extra_hosts, .. } = &container.process;
    let full = domainname.as_ref().map_or_else(String::new, |domain| format!("{hostname}.{domain} "));
    // Writing to a String cannot fail.
    for endpoint in &leader.endpoints {
        for address in endpoint.addresses() {
            let _ = writeln!(text, "{address}\t{full}{hostname}");
        }
    }
    let others = leader.process.extra_hosts.iter().filter(|other| !extra_hosts.contains(other));
    for (name, address) in extra_hosts.iter().chain(others) {
        let _ = writeln!(text, "{address}\t{name}");
    }
    text
}

/// `/etc/resolv.conf`: the project's own server, which asks the others; where there is no network of its own the others
/// themselves.
fn resolv_conf(container: &Container, leader: &Container) -> String {
    let Dns { servers, search, options } = &container.spec.dns;
    let own: String = servers.iter().map(|server| format!("nameserver {server}\n")).collect();
    let mode = &leader.spec.network;
    let mut text = match mode {
        NetworkMode::Attached(_) => "nameserver 127.0.0.11\n".to_owned(),
        NetworkMode::Host if own.is_empty() => {
            HOST_RESOLV_CONF.iter().find_map(|path| fs_err::read_to_string(path).ok()).unwrap_or_default()
        }
        NetworkMode::None | NetworkMode::Host | NetworkMode::Service(_) => own,
    };
    let mut options = options.clone();
    if matches!(mode, NetworkMode::Attached(_)) && !options.iter().any(|it| it.starts_with("ndots:")) {
        options.push("ndots:0".to_owned());
    }
    // The last line of a kind is the one that counts (resolv.conf(5)).
    for (word, list) in [("search", search), ("options", &options)] {
        if !list.is_empty() {
            let _ = writeln!(text, "{word} {}", list.join(" "));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn container(spec: serde_json::Value) -> Container {
        let record = serde_json::json!({
            "schema": 1, "id": "c1", "name": "p-a-1", "service": "a", "index": 1, "spec": spec, "restart_request": 0,
            "image": "i", "layers": [], "mounts": [], "created": 0, "endpoints": [{
                "network": "default", "bridge": "b", "host_interface": "h", "interface": "eth0",
                "address": "10.0.0.2/24", "gateway": null, "mac": [2, 66, 10, 0, 0, 2], "names": [], "internal": false,
            }],
            "process": {
                "argv": ["a"], "env": [], "cwd": "/", "user": "", "hostname": "web", "domainname": "example.org",
                "extra_hosts": [["host.docker.internal", "10.0.0.1"]], "stop_signal": 15,
            },
        });
        serde_json::from_value(record).unwrap()
    }

    fn spec(network: serde_json::Value) -> serde_json::Value {
        serde_json::json!({
            "image": "i", "network": network, "stop_grace": 0,
            "dns": { "servers": ["9.9.9.9"], "search": ["a.test"], "options": ["timeout:1"] },
        })
    }

    #[test]
    fn hosts_have_the_full_name_and_further_lines() {
        let own = container(spec(serde_json::json!({ "attached": {} })));
        let text = hosts(&own, &own);
        assert!(text.ends_with("10.0.0.2\tweb.example.org web\n10.0.0.1\thost.docker.internal\n"), "{text}");
    }

    #[test]
    fn servers_are_asked_by_ours_or_by_the_container() {
        let leader = container(spec(serde_json::json!({ "attached": {} })));
        let attached = resolv_conf(&leader, &leader);
        assert_eq!(attached, "nameserver 127.0.0.11\nsearch a.test\noptions timeout:1 ndots:0\n");
        let follower = container(spec(serde_json::json!({ "service": "vpn" })));
        assert_eq!(resolv_conf(&follower, &leader), attached);
        let host = container(spec(serde_json::json!("host")));
        let host = resolv_conf(&host, &host);
        assert_eq!(host, "nameserver 9.9.9.9\nsearch a.test\noptions timeout:1\n");
    }
}
