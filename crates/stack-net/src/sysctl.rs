//! Settings below `/proc/sys/net`. The kernel resolves them in the network namespace of the calling thread.

use std::io;

use fs_err as fs;
use stack_model::IfName;

use crate::error::NetError;

/// Writes a setting unless it has the value already; tells whether it was written.
fn ensure(path: &str, value: &str) -> Result<bool, NetError> {
    let current = fs::read_to_string(path).map_err(NetError::Setting)?;
    if current.trim_end() == value {
        return Ok(false);
    }
    fs::write(path, value).map_err(NetError::Setting)?;
    Ok(true)
}

/// As [`ensure`], for a kernel that may lack the whole family.
fn ensure_if_present(path: &str, value: &str) -> Result<bool, NetError> {
    match ensure(path, value) {
        Err(NetError::Setting(error)) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        other => other,
    }
}

/// Lets the host forward packets, and lets connections to 127.0.0.1 reach containers through a bridge: `route_localnet`
/// allows loopback addresses on it, and the raw chain of the project's table drops everyone else's.
pub(crate) fn ensure_bridge_settings(bridge: &IfName, ipv6: bool) -> Result<bool, NetError> {
    let forward = ensure("/proc/sys/net/ipv4/ip_forward", "1")?;
    let localnet = ensure(&format!("/proc/sys/net/ipv4/conf/{bridge}/route_localnet"), "1")?;
    if ipv6 {
        let forward6 = ensure("/proc/sys/net/ipv6/conf/all/forwarding", "1")?;
        let speaks = ensure(&format!("/proc/sys/net/ipv6/conf/{bridge}/disable_ipv6"), "0")?;
        return Ok(forward | localnet | forward6 | speaks);
    }
    // Without this the bridge of a network of IPv4 alone spends a second on duplicate address detection.
    let silent = ensure_silence(bridge)?;
    Ok(forward | localnet | silent)
}

/// Keeps the kernel from sending IPv6 neighbour and multicast messages on an interface. Each is copied to every port
/// of the bridge, which adds up to most of the work of starting a hundred containers.
pub(crate) fn ensure_silence(interface: &IfName) -> Result<bool, NetError> {
    ensure_if_present(&format!("/proc/sys/net/ipv6/conf/{interface}/disable_ipv6"), "1")
}

/// Lets one interface of the calling thread's namespace have IPv6. Its first packet need not wait until the kernel knows
/// that nobody else has its link-local address: it follows from the hardware address, which is as unique.
pub(crate) fn allow_ipv6(interface: &IfName) -> Result<(), NetError> {
    let conf = format!("/proc/sys/net/ipv6/conf/{interface}");
    for (name, value) in [("accept_dad", "0"), ("accept_ra", "0"), ("disable_ipv6", "0")] {
        ensure(&format!("{conf}/{name}"), value)?;
    }
    Ok(())
}

fn write_if_present(path: &str, value: &str) -> Result<(), NetError> {
    match fs::write(path, value) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(NetError::Setting(error)),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// What every container namespace has: any user may ping and listen below 1024, as docker allows. Interfaces to come
/// have no IPv6; loopback, which exists already, keeps it.
pub(crate) fn write_sandbox_settings() -> Result<(), NetError> {
    fs::write("/proc/sys/net/ipv4/ip_unprivileged_port_start", "0").map_err(NetError::Setting)?;
    fs::write("/proc/sys/net/ipv4/ping_group_range", "0 2147483647").map_err(NetError::Setting)?;
    write_if_present("/proc/sys/net/ipv6/conf/default/disable_ipv6", "1")
}
